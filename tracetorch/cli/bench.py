"""The command ``tracetorch bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tracetorch.cli.common import clear_errors, err
from tracetorch.train.checkpoint import write_file


def bench(
    workloads: Annotated[list[str] | None, typer.Argument(help="Workloads such as W1; all if none is named.")] = None,
    quick: Annotated[bool, typer.Option(help="Tiny sizes, to see that everything runs.")] = False,
    threads: Annotated[int | None, typer.Option(help="Threads of each row; the number of cores if not given.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Turns of each row.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the results as JSON to this file.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the results to this file.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Answer in JSON on standard output.")] = False,
) -> None:
    """Measure time and memory of this library on this machine, each row in a process of its own."""
    from dataclasses import replace

    from tracetorch.plot.style import require_matplotlib, save
    from tracetorch.train.bench import QUICK_EFFORT, Effort, as_markdown, chosen, draw, run

    with clear_errors():
        if figure is not None:
            require_matplotlib()
        effort = QUICK_EFFORT if quick else Effort()
        if rounds is not None:
            if rounds < 1:
                raise ValueError(f"--rounds must be at least 1, got {rounds}")
            effort = replace(effort, rounds=rounds)
        console = err()

        def say(line: str) -> None:
            console.print(line, style="dim", markup=False, soft_wrap=True)

        report = run(chosen(workloads or [], quick=quick), threads=threads, effort=effort, say=say)
        typer.echo(report.as_json() if json_ else as_markdown(report))
        if output is not None:
            write_file(output, report.as_json().encode())
        if figure is not None:
            save(draw(report), figure)
    if not report.sound:
        raise typer.Exit(1)
