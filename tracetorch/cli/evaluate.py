"""The command ``tracetorch eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tracetorch.cli import options
from tracetorch.cli.common import answer, clear_errors, out, score_table, set_threads
from tracetorch.train.drawing import run_figures, save_figures
from tracetorch.train.fabric import make_fabric
from tracetorch.train.folder import RunFolder
from tracetorch.train.recording import reopen
from tracetorch.train.tasks import find


def evaluate(  # noqa: PLR0913 - each argument is an option of the command
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    task: Annotated[str | None, typer.Option(help="The run's task, where it is of a script: SCRIPT.py:CLASS.")] = None,
    data: Annotated[str | None, typer.Option(help="Where the data lies now, if elsewhere.")] = None,
    figures: Annotated[bool, typer.Option("--figures", help="Draw the run's figures again.")] = False,
    threads: options.Threads = None,
    device: Annotated[str | None, typer.Option(help="Where to run, if elsewhere.")] = None,
    json_: options.Json = False,
    traceback: options.Traceback = False,
) -> None:
    """Score a run's network on all held-out data."""
    with clear_errors(traceback=traceback):
        set_threads(threads)
        own = None if task is None else find(task)
        config = RunFolder.open(run).config
        fabric = make_fabric(device or config["device"], devices=1, precision=config["precision"])
        trainer, folder = reopen(run, task=own, data=data, fabric=fabric)
        scores = trainer.evaluate()
        drawn = save_figures(run_figures(trainer, folder.records()), folder.figures) if figures else []
        if json_:
            answer(
                {
                    "run": str(run),
                    "iteration": trainer.iteration,
                    "metric": trainer.task.metric,
                    "scores": scores,
                    "figures": [str(path) for path in drawn],
                }
            )
            return
        problem = trainer.task
        title = f"{problem.name} · {trainer.choice.text} · iteration {trainer.iteration}"
        out().print(score_table(scores, title=title, metric=problem.metric, scored_on=problem.scored_on))
        for path in drawn:
            out().print(f"figure: {path}", soft_wrap=True, markup=False, style="dim")
