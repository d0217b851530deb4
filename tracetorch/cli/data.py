"""The command ``tracetorch data``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from tracetorch.cli import options
from tracetorch.cli.common import answer, clear_errors, out
from tracetorch.cli.listing import show
from tracetorch.data.convert import SOURCES, make_data_file
from tracetorch.data.files import ENVIRONMENT_VARIABLE


def data(
    name: Annotated[str | None, typer.Argument(help=f"Which: {', '.join(SOURCES)}; all if not given.")] = None,
    downloads: Annotated[
        Path | None, typer.Argument(help="The folder of the original downloads; the recipe is shown if not given.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help=f"Where the file goes; the folder in {ENVIRONMENT_VARIABLE}, or this one.")
    ] = None,
    json_: options.Json = False,
    traceback: options.Traceback = False,
) -> None:
    """Show how to get the data files that tasks read, or make one from the original downloads."""
    with clear_errors(traceback=traceback):
        if name is not None and name not in SOURCES:
            raise ValueError(f"no data file {name!r}: choose one of {', '.join(SOURCES)}")
        if name is None or downloads is None:
            rows = [
                {
                    "data": word,
                    "file": source.file,
                    "for the tasks": ", ".join(source.tasks),
                    "how": f"{source.recipe}; then: tracetorch data {word} FOLDER",
                    "from": source.address,
                    "licence": source.licence,
                }
                for word, source in SOURCES.items()
                if name in (None, word)
            ]
            show({"data": rows}, json_=json_)
            return
        folder = to if to is not None else Path(os.environ.get(ENVIRONMENT_VARIABLE) or ".")
        file = make_data_file(name, downloads, folder)
        with np.load(file, allow_pickle=False) as archive:
            shapes = {key: list(archive[key].shape) for key in archive.files}
        if json_:
            answer({"file": str(file), "arrays": shapes})
            return
        words = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
        out().print(f"{file}: {words}", soft_wrap=True, markup=False)
