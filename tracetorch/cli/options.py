"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Data = Annotated[str | None, typer.Option(help="The task's data file, or its folder.")]
FirstSeed = Annotated[int, typer.Option(help="The first seed.")]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON on standard output.")]
Preset = Annotated[str | None, typer.Option(help="A named set of the task's options.")]
Rules = Annotated[str, typer.Option(help="Rules, with commas between them.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the task; may be repeated.")
]
Threads = Annotated[int | None, typer.Option(help="Threads of torch.")]
Traceback = Annotated[bool, typer.Option("--traceback", help="Show where an error comes from.")]
