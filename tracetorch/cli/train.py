"""The command ``tracetorch train``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tracetorch.cli import options
from tracetorch.cli.common import answer, clear_errors, err, make_task, out, score_table, set_threads
from tracetorch.cli.interrupt import Interrupt
from tracetorch.cli.view import View
from tracetorch.plot import require_matplotlib
from tracetorch.train.drawing import run_figures, save_figures
from tracetorch.train.fabric import LOGGERS, PRECISIONS, make_fabric, make_logger
from tracetorch.train.folder import RunFolder, default_path
from tracetorch.train.recording import begin, make_runner, recorded, reopen, scores_of
from tracetorch.train.runner import Runner
from tracetorch.train.script import is_script
from tracetorch.train.tasks import find

_TASK = "What to learn: see 'tracetorch list'; or your own task. With --resume only your own."


def train(  # noqa: PLR0913 - each argument is an option of the command
    task: Annotated[str | None, typer.Argument(metavar="[TASK|SCRIPT.py:CLASS]", help=_TASK)] = None,
    rule: Annotated[
        str | None, typer.Option(help="How: trace, ottt, eprop, traced_bptt:4, frozen, …; the task's own if not given.")
    ] = None,
    data: options.Data = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, data order and noise; 0 if not given.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Training iterations; the task's own number if not given. Schedules follow it.")
    ] = None,
    set_: options.Settings = None,
    control: Annotated[
        str | None,
        typer.Option(
            help="For tasks with rewards: take away lambda0, no-bound, reset-state, truncated; or gru instead."
        ),
    ] = None,
    preset: options.Preset = None,
    run: Annotated[Path | None, typer.Option(help="The run's folder; runs/TASK-RULE-SEED-TIME if not given.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with the run in this folder, bit for bit.")
    ] = None,
    checkpoint_every: Annotated[
        str, typer.Option(metavar="N|SECONDSs", help="Iterations, or seconds with an s, between two checkpoints.")
    ] = "60s",
    threads: Annotated[
        int | None, typer.Option(help="Threads of torch; 1 if not given: the tasks' tensors are small.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu (the default) or cuda.")] = None,
    devices: Annotated[
        int | None, typer.Option(help="Processes that share each batch; 1, or what torchrun started, if not given.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help=f"Number format: {', '.join(PRECISIONS)}; the first if not given.")
    ] = None,
    logger: Annotated[
        list[str] | None,
        typer.Option(metavar="|".join(LOGGERS), help="Also log in this form, into the run's folder; may be repeated."),
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw figures at the end.")] = True,
    json_: options.Json = False,
    traceback: options.Traceback = False,
) -> None:
    """Train a network on a task; Ctrl-C, SIGTERM and SIGHUP write a checkpoint."""
    with clear_errors(traceback=traceback):
        every = interval(checkpoint_every)
        if figures:
            require_matplotlib()
        if resume is not None:
            given = {
                "TASK": None if task is not None and is_script(task) else task,
                "--rule": rule,
                "--seed": seed,
                "--set": set_,
                "--control": control,
                "--preset": preset,
                "--run": run,
                "--precision": precision,
            }
            wrong = [name for name, value in given.items() if value]
            if wrong:
                raise ValueError(f"--resume goes on with a run as it was set: leave {', '.join(wrong)} out")
            config = RunFolder.open(resume).config
            threads = config["threads"] if threads is None else threads
            set_threads(threads)
            own = None if task is None else find(task)
            fabric = make_fabric(
                device or config["device"],
                devices=config["devices"] if devices is None and config["devices"] > 1 else devices,
                precision=config["precision"],
                loggers=[make_logger(name, resume) for name in logger or []],
            )
            resumed = fabric.is_global_zero
            trainer, folder = reopen(resume, task=own, steps=steps, data=data, fabric=fabric, resume=resumed)
        else:
            if task is None:
                raise ValueError("name a task ('tracetorch list' shows them), or resume a run with --resume RUN")
            threads = 1 if threads is None else threads
            set_threads(threads)
            settings = [*(set_ or []), *([f"control={control}"] if control else [])]
            made = make_task(task, settings, preset=preset, data=data, seed=seed, steps=steps)
            name = (made.name, *([control] if control else []), (rule or made.default_rule).strip(), str(made.seed))
            path = run if run is not None else default_path("runs", *name)
            loggers = [make_logger(name, path) for name in logger or []]
            fabric = make_fabric(
                device or "cpu", devices=devices, precision=precision or PRECISIONS[0], loggers=loggers
            )
            trainer = make_runner(made, rule=rule, fabric=fabric)
            folder = begin(trainer, path) if fabric.is_global_zero else RunFolder(path)
        fabric.launch()
        fabric.barrier()  # every process has read the checkpoint before it is written again
        set_threads(threads)  # launching several processes sets it
        _go(trainer, folder, figures=figures, json_answer=json_, every=every)


def interval(text: str) -> dict[str, Any]:
    """Read the time between two checkpoints, iterations or seconds with an ``s``, as arguments of `recorded`.

    >>> interval("500"), interval("2.5s")
    ({'save_seconds': inf, 'save_steps': 500}, {'save_seconds': 2.5})
    """
    try:
        if text.endswith("s") and 0.0 <= float(text[:-1]) < math.inf:
            return {"save_seconds": float(text[:-1])}
        if int(text) > 0:
            return {"save_seconds": math.inf, "save_steps": int(text)}
    except ValueError:
        pass
    raise ValueError(f"--checkpoint-every takes iterations, as in 500, or seconds, as in 60s; got {text!r}")


def _go(trainer: Runner[Any], folder: RunFolder, *, figures: bool, json_answer: bool, every: Mapping[str, Any]) -> None:
    """Train to the end or to an interruption; draw and answer: the first process alone, where there are several."""
    if not trainer.fabric.is_global_zero:
        with Interrupt(trainer):
            for _ in trainer.events():
                pass
        return
    console = err()
    if console.is_terminal or not json_answer:
        verb = "resumed at iteration" if trainer.iteration else "from iteration"
        console.print(f"[dim]{folder.path}, {verb} {trainer.iteration}[/dim]", soft_wrap=True)
    complete = False
    view = View(trainer, console, quiet=json_answer)
    with Interrupt(trainer) as interrupt:
        try:
            with view:
                for event in recorded(trainer, folder, **every):
                    with interrupt.hung_up():
                        view.show(event)
            complete = interrupt.number is None
        except KeyboardInterrupt:
            if trainer.consistent:
                folder.lock()
                folder.save(trainer)
                folder.unlock()
    drawn: list[Path] = []
    if complete and figures:
        drawn = save_figures(run_figures(trainer, folder.records()), folder.figures)
    summary = summarise(trainer, folder, complete=complete, figures=drawn)
    with interrupt.hung_up():
        if json_answer:
            answer(summary)
        elif complete:
            show_summary(summary)
    if not complete:
        with interrupt.hung_up():
            where = "" if trainer.consistent else "; broken off in the middle of the next, so from the last checkpoint"
            console.print(
                f"stopped after iteration {trainer.iteration} of {trainer.task.iterations}{where}. Go on with:\n"
                f"  tracetorch train --resume {folder.path}",
                soft_wrap=True,
                markup=False,
            )
        raise typer.Exit(128 + (interrupt.number or 2))


def summarise(trainer: Runner[Any], folder: RunFolder, *, complete: bool, figures: list[Path]) -> dict[str, Any]:
    """Return what the command answers: plain values by name."""
    return {
        "run": str(folder.path),
        "task": trainer.task.name,
        "rule": trainer.choice.text,
        "seed": trainer.task.seed,
        "complete": complete,
        "iterations": trainer.iteration,
        "time_steps": trainer.time_steps,
        "seconds": trainer.seconds,
        "metric": trainer.task.metric,
        "scored_on": trainer.task.scored_on,
        "scores": scores_of(folder.records()) if complete else {},
        "figures": [str(path) for path in figures],
    }


def show_summary(summary: dict[str, Any]) -> None:
    """Draw the end of a run as a small table."""
    console = out()
    title = f"{summary['task']} · {summary['rule']} · seed {summary['seed']}"
    table = score_table(summary["scores"], title=title, metric=summary["metric"], scored_on=summary["scored_on"])
    table.add_section()
    table.add_row("iterations", f"{summary['iterations']:,}")
    table.add_row("time steps", f"{summary['time_steps']:,}")
    table.add_row("seconds of training", f"{summary['seconds']:.1f}")
    console.print(table)
    console.print(f"run: {summary['run']}", soft_wrap=True, markup=False)
    for path in summary["figures"]:
        console.print(f"figure: {path}", soft_wrap=True, markup=False, style="dim")
