"""The command ``tracetorch compare``."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from tracetorch import plot
from tracetorch.cli import options
from tracetorch.cli.common import answer, clear_errors, counted, err, make_task, number, out, seeds_from, words_of
from tracetorch.train.compare import Compared, compare, summarise
from tracetorch.train.drawing import comparison_figure
from tracetorch.train.folder import default_path

_DEFAULT = "frozen,sltt,ottt,eprop,trace,bptt"


def compare_command(  # noqa: PLR0913 - each argument is an option of the command
    task: Annotated[
        str,
        typer.Argument(metavar="TASK|SCRIPT.py:CLASS", help="What to learn: see 'tracetorch list'; or your own task."),
    ],
    rules: options.Rules = _DEFAULT,
    seeds: Annotated[int, typer.Option(help="Number of seeds of each rule.")] = 3,
    first_seed: options.FirstSeed = 0,
    data: options.Data = None,
    steps: Annotated[int | None, typer.Option(help="Training iterations; the task's own number if not given.")] = None,
    set_: options.Settings = None,
    preset: options.Preset = None,
    run: Annotated[
        Path | None, typer.Option(help="The folder of all runs; one that was cut short is gone on with.")
    ] = None,
    processes: Annotated[int, typer.Option(help="Runs at a time.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of torch for each run.")] = 1,
    figures: Annotated[bool, typer.Option(help="Draw the figure.")] = True,
    json_: options.Json = False,
    traceback: options.Traceback = False,
) -> None:
    """Train a task with several rules and seeds, each run in its own process; print one table, draw one figure."""
    with clear_errors(traceback=traceback):
        if figures:
            plot.require_matplotlib()
        plan, words = seeds_from(first_seed, seeds), words_of(rules)
        problem = make_task(task, set_ or [], preset=preset, data=data, steps=steps)
        folder = run if run is not None else default_path("runs", "compare", problem.name)
        runs = compare(problem, words, folder=folder, seeds=plan, processes=processes, threads=threads)
        try:
            results = _collect(runs, total=len(dict.fromkeys(words)) * seeds, quiet=json_)
        except KeyboardInterrupt:
            runs.close()
            err().print(f"the runs that ended are kept; the same command with --run {folder} goes on", soft_wrap=True)
            raise
        results.sort(key=lambda result: (words.index(result.rule), result.seed))
        figure = None
        if figures:
            drawn = comparison_figure(results, metric=problem.metric, title=f"{problem.name}, {counted(seeds)}")
            figure = plot.save(drawn, folder / "comparison.png")
        if json_:
            summary = summarise(results)
            answer({"folder": str(folder), "metric": problem.metric, "summary": summary, "figure": figure})
            return
        console = out()
        console.print(table_of(results, metric=problem.metric, title=f"{problem.name} · {counted(seeds)}"))
        console.print(f"results: {folder / 'results.json'}", soft_wrap=True, markup=False)
        if figure is not None:
            console.print(f"figure: {figure}", soft_wrap=True, markup=False)


def _collect(results: Any, *, total: int, quiet: bool) -> list[Compared]:
    """Wait for all results; show how far it is on a terminal, a line for each elsewhere."""
    console = err()
    done: list[Compared] = []
    progress = Progress(
        SpinnerColumn(),
        TextColumn("[bold]comparing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    began = time.monotonic()
    with progress:
        bar = progress.add_task("", total=total)
        for result in results:
            done.append(result)
            name, value = next(iter(result.scores.items()))
            line = f"{result.rule} seed {result.seed}: {name} {number(value)}, {result.seconds:.1f} s"
            progress.update(bar, completed=len(done), description=line)
            if not console.is_terminal and not quiet:
                spent = time.monotonic() - began
                console.print(f"{len(done)}/{total}  {line}  ({spent:.0f} s in all)", soft_wrap=True, markup=False)
    return done


def table_of(results: Sequence[Compared], *, metric: str, title: str) -> Table:
    """Return the comparison as a table: metric ± s.d., other scores, seconds, peak memory."""
    rows = summarise(results)
    best = max((row["scores"][metric]["mean"] for row in rows if metric in row["scores"]), default=math.nan)
    others = [name for name in rows[0]["scores"] if name != metric][:3]
    caption = "seconds and memory of the iterations, evaluation left out"
    table = Table(title=title, title_justify="left", caption=caption)
    table.add_column("rule")
    table.add_column(f"{metric} ± s.d.", justify="right")
    for name in others:
        table.add_column(name, justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("peak memory", justify="right")
    for row in rows:
        score = row["scores"].get(metric, {"mean": math.nan, "sd": math.nan})
        style = "bold" if score["mean"] == best else ""
        cells = [_spread(row["scores"].get(name, {"mean": math.nan, "sd": math.nan})) for name in (metric, *others)]
        memory = f"{row['peak_mb']:.0f} MB (+{row['training_mb']:.0f})"
        table.add_row(row["rule"], *cells, f"{row['seconds']:.1f}", memory, style=style)
    return table


def _spread(score: dict[str, float]) -> str:
    """Return mean ± standard deviation; the mean alone where one seed has none."""
    if math.isnan(score["sd"]):
        return number(score["mean"])
    return f"{score['mean']:.4f} ± {score['sd']:.4f}"
