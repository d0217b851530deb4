"""The command ``tracetorch reproduce``: published results beside ours, from a clone of the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typer

from tracetorch.cli.common import fail

MODULE = "benchmarks.reproduce"


def reproduce(context: typer.Context) -> None:
    """Repeat a published result: adding, psmnist, randman, eprop-regression, eprop-classification.

    Run it from the root of a clone: the tables are no part of the package. The options are those of
    `python -m benchmarks.reproduce`; `tracetorch reproduce adding --help` lists them.
    """
    if not Path(*MODULE.split("."), "__main__.py").is_file():
        raise fail(
            "tracetorch reproduce runs from the root of a clone: there is no benchmarks/reproduce in this folder"
        )
    raise typer.Exit(subprocess.run([sys.executable, "-m", MODULE, *context.args], check=False).returncode)
