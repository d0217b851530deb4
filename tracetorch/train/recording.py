"""Run a trainer and keep what happens in its folder; begin, resume and reopen runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import tracetorch as tt
from tracetorch.train.choice import Choice
from tracetorch.train.events import Evaluated, Event, Finished, Logged, Saved
from tracetorch.train.folder import RunFolder, describe
from tracetorch.train.making import make_runner
from tracetorch.train.reward.runner import RewardRunner
from tracetorch.train.runner import Runner
from tracetorch.train.tasks import TASKS
from tracetorch.train.tasks.base import Problem


def begin(trainer: Runner[Any], path: str | os.PathLike[str]) -> RunFolder:
    """Make the folder of a trainer's new run.

    Args:
        trainer: The run, before its first iteration.
        path: A folder that does not exist or is empty.

    Returns:
        The folder, with the configuration in it.

    Raises:
        FileExistsError: There is something in the folder already.
    """
    return RunFolder.create(path, describe(trainer))


def reopen(
    path: str | os.PathLike[str],
    *,
    task: Problem | None = None,
    rule: str | tt.Rule | Choice | None = None,
    steps: int | None = None,
    data: str | None = None,
    device: str | torch.device | None = None,
    resume: bool = False,
) -> tuple[Runner[Any], RunFolder]:
    """Make the trainer of a run from its folder, in the state of its checkpoint.

    Args:
        path: The run's folder.
        task: The run's task, where it is none that comes with the library.
        rule: The run's rule, where it was given as a rule and not as a word.
        steps: Number of iterations to go to in all; None for the run's own.
        data: Where the data lies now; None for where it was.
        device: Where to run now; None for where it ran.
        resume: Cut the log back to the checkpoint, to go on with `recorded`; otherwise the folder is left as it is.

    Returns:
        The trainer and the folder.

    Raises:
        FileNotFoundError: There is no run, or no checkpoint of it.
        ValueError: The folder's content does not fit this version, or the task is unknown.
    """
    folder = RunFolder.open(path)
    config = folder.config
    if task is None:
        task = _task_of(config)
    changes: dict[str, Any] = {}
    if steps is not None:
        changes["steps"] = steps
    if data is not None:
        if "data" not in task.options():
            raise ValueError(f"task {task.name!r} reads no data file: leave the path out")
        changes["data"] = data
    task = replace(task, **changes)
    trainer = make_runner(
        task,
        rule=config["rule"] if rule is None else rule,
        log_every=config["log_every"],
        device=config["device"] if device is None else device,
    )
    state = folder.load(trainer)
    if resume:
        folder.cut_log(state["log_bytes"])
    return trainer, folder


def _task_of(config: dict[str, Any]) -> Problem:
    """Make the task that a configuration names."""
    name = config["task"]
    if name not in TASKS:
        raise ValueError(f"the run's task {name!r} is none of {', '.join(TASKS)}: pass the task itself")
    try:
        return TASKS[name](**config["options"])
    except TypeError as error:
        raise ValueError(f"the run's options do not fit this version of task {name!r}: {error}") from error


def recorded(
    trainer: Runner[Any], folder: RunFolder, *, save_seconds: float = 60.0, until: int | None = None
) -> Iterator[Event]:
    """Train, write log and checkpoints into the folder, and tell what happens.

    Args:
        trainer: The run; new from `begin` or going on from `reopen`.
        folder: Its folder.
        save_seconds: Time between two checkpoints; one more is written at the end.
        until: Number of iterations after which to end; None for the task's ``steps``.

    Yields:
        What `Runner.events` yields, and a `Saved` for every checkpoint.
    """
    saved = time.monotonic()
    if isinstance(trainer, RewardRunner) and trainer.iteration == 0:
        folder.save(trainer)  # an environment may fail in the first stretch
    for event in trainer.events(until):
        if isinstance(event, (Logged, Evaluated)):
            folder.append(event.record)
        if isinstance(event, Finished) or time.monotonic() - saved > save_seconds:
            folder.save(trainer)
            saved = time.monotonic()
            yield Saved(event.iteration, str(folder.path))
        yield event


@dataclass(frozen=True)
class Result:
    """Hold what `fit` gives.

    Attributes:
        trainer: The trained run; ``trainer.net`` is the network.
        records: The log.
        scores: The scores on all held-out data, the task's metric first; empty where the run was stopped.
        path: The run's folder; None where none was asked for.
    """

    trainer: Runner[Any]
    records: list[dict[str, Any]]
    scores: dict[str, float]
    path: Path | None


def fit(
    task: Problem,
    *,
    rule: str | tt.Rule | None = None,
    run: str | os.PathLike[str] | None = None,
    on_event: Callable[[Runner[Any], Event], None] | None = None,
    log_every: int = 10,
    device: str | torch.device = "cpu",
) -> Result:
    """Train a task to its end.

    Args:
        task: What to learn.
        rule: How: a word as on the command line, or a rule; None for the task's own.
        run: A folder for the run; None to write nothing.
        on_event: Is called with the trainer and each event; it may call ``trainer.stop()``.
        log_every: Iterations that one record of the log covers.
        device: Where to train.

    Returns:
        The network, the log, the scores.

    Raises:
        ValueError: The rule does not fit the task.
        FileExistsError: The folder is not empty.

    Example:
        >>> from tracetorch.train.tasks import make
        >>> result = fit(make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}))
        >>> next(iter(result.scores))
        'accuracy'
    """
    trainer = make_runner(task, rule=rule, log_every=log_every, device=device)
    folder = None if run is None else begin(trainer, run)
    events = trainer.events() if folder is None else recorded(trainer, folder)
    records: list[dict[str, Any]] = []
    for event in events:
        if isinstance(event, (Logged, Evaluated)):
            records.append(dict(event.record))
        if on_event is not None:
            on_event(trainer, event)
    return Result(trainer, records, scores_of(records), None if folder is None else folder.path)


def scores_of(records: list[dict[str, Any]]) -> dict[str, float]:
    """Return the scores of the last record of kind ``"test"``; empty where there is none.

    Args:
        records: A run's log.

    Returns:
        The scores by name, the task's metric first.

    Example:
        >>> scores_of([{"kind": "test", "iteration": 9, "time_step": 90, "accuracy": 0.9, "seconds": 1.0}])
        {'accuracy': 0.9}
    """
    plain = ("kind", "iteration", "time_step", "seconds", "memory_mb", "partial")
    for record in reversed(records):
        if record["kind"] == "test":
            return {name: value for name, value in record.items() if name not in plain}
    return {}
