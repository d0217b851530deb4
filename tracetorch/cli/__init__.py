"""The command ``tracetorch``: train, evaluate, compare, audit, list."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line on ``sys.argv``; exit 2 with one line where its own dependencies are missing."""
    try:
        from tracetorch.cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        sys.stderr.write(
            f"error: the command line needs {error.name}, which is not installed: pip install {error.name}, "
            "or the extra 'train' in a clone: pip install '.[train]'\n"
        )
        raise SystemExit(2) from None
    app(prog_name="tracetorch")
