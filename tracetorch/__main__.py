"""Run the command line: ``python -m tracetorch``."""

from tracetorch.cli import main

if __name__ == "__main__":
    main()
