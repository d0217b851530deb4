"""Run a trainer and keep what happens in its folder; begin, resume and reopen runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tracetorch as tt
from tracetorch.train.choice import Choice, read_choice
from tracetorch.train.events import Evaluated, Event, Finished, Logged, Saved
from tracetorch.train.fabric import make_fabric
from tracetorch.train.folder import RunFolder, describe
from tracetorch.train.formats import Config
from tracetorch.train.reward.base import RewardTask
from tracetorch.train.reward.runner import RewardRunner
from tracetorch.train.runner import Runner, fitting
from tracetorch.train.schema import RunFileError
from tracetorch.train.tasks import TASKS
from tracetorch.train.tasks.base import Problem, Task
from tracetorch.train.trainer import Trainer

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_runner(
    task: Problem,
    *,
    rule: str | tt.Rule | Choice | None = None,
    log_every: int = 10,
    fabric: Fabric | None = None,
) -> Runner[Any]:
    """Make the run of a task: a `Trainer` for one with losses, a `RewardRunner` for one with rewards.

    A rule may be a word as on the command line; None is the task's own. `fabric` is None for one process on the CPU.
    """
    if isinstance(task, RewardTask):
        return RewardRunner(task, rule=rule, log_every=log_every, fabric=fabric)
    if isinstance(task, Task):
        return Trainer(task, rule=rule, log_every=log_every, fabric=fabric)
    raise TypeError(f"a task is a Task or a RewardTask, got {type(task).__name__}")


def begin(trainer: Runner[Any], path: str | os.PathLike[str]) -> RunFolder:
    """Make the folder of a trainer's new run, with its first checkpoint.

    Args:
        trainer: The run, before its first iteration.
        path: A folder that does not exist or is empty.

    Returns:
        The folder, locked until `recorded` ends.

    Raises:
        FileExistsError: There is something in the folder already.
        BlockingIOError: Another process begins a run there.

    Example:
        >>> import tempfile, tracetorch as tt
        >>> trainer = tt.train.Trainer(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}))
        >>> folder = tt.train.begin(trainer, tempfile.mkdtemp())
        >>> for event in tt.train.recorded(trainer, folder):
        ...     pass
        >>> [record["kind"] for record in folder.records()]
        ['train', 'test']
    """
    folder = RunFolder.create(path, describe(trainer))
    folder.save(trainer)
    return folder


def reopen(
    path: str | os.PathLike[str],
    *,
    task: Problem | type[Problem] | None = None,
    rule: str | tt.Rule | Choice | None = None,
    steps: int | None = None,
    data: str | None = None,
    fabric: Fabric | None = None,
    resume: bool = False,
) -> tuple[Runner[Any], RunFolder]:
    """Make the trainer of a run from its folder, in the state of its checkpoint.

    Args:
        path: The run's folder.
        task: The run's task, or its class, where it is none that comes with the library.
        rule: The run's rule, where it was given as a rule and not as a word.
        steps: Number of iterations to go to in all; None for the run's own.
        data: Where the data lies now; None for where it was.
        fabric: Where to run now; None for one process, on the device and in the precision of the run.
        resume: Lock the folder and cut the log back to the checkpoint, to go on with `recorded`; otherwise the folder
            is left as it is.

    Returns:
        The trainer and the folder.

    Raises:
        FileNotFoundError: There is no run, or no checkpoint of it.
        BlockingIOError: Another process trains this run.
        RunFileError: A file of the run is damaged, or of another run or version.
        ValueError: The task is unknown, or task or rule are not the run's.

    Example:
        >>> import tempfile, tracetorch as tt
        >>> path = tempfile.mkdtemp()
        >>> _ = tt.train.fit(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}), run=path)
        >>> trainer, folder = tt.train.reopen(path, steps=4, resume=True)
        >>> for event in tt.train.recorded(trainer, folder):
        ...     pass
        >>> trainer.iteration
        4
    """
    folder = RunFolder.open(path)
    config = folder.config
    with ExitStack() as failed:
        if resume:
            folder.lock()
            failed.callback(folder.unlock)
        checkpoint = folder.checkpoint()
        file = folder.path / "config.json"
        task = _task_of(config, task, file, steps=steps, data=data)
        with fitting(file, "rule"):
            choice = read_choice(config["rule"]) if rule is None else rule
        with fitting(file, "device"):
            fabric = make_fabric(config["device"], precision=config["precision"]) if fabric is None else fabric
        with fitting(file, "options"):
            trainer = make_runner(task, rule=choice, log_every=config["log_every"], fabric=fabric)
        if rule is not None and repr(trainer.choice.rule) != config["rule_in_full"]:
            raise ValueError(f"{str(path)!r} is a run of rule {config['rule']}, not of {trainer.choice.text}")
        trainer.load_state_dict(checkpoint["run"], source=folder.path / "state.safetensors")
        if resume:
            folder.cut_log(checkpoint["log_bytes"])
        failed.pop_all()
    return trainer, folder


def _task_of(
    config: Config, task: Problem | type[Problem] | None, file: Path, *, steps: int | None, data: str | None
) -> Problem:
    """Make the task that a configuration names, or check that the task passed is of its name; set what is new."""
    name = config["task"]
    if task is None and name not in TASKS:
        why = f"{name!r} is none of {', '.join(TASKS)}: pass the task itself; to a command, its script, my_task.py:Task"
        raise RunFileError(file, "task", why)
    if task is not None and task.name != name:
        raise ValueError(f"{str(file.parent)!r} is a run of task {name!r}, not of {task.name!r}")
    if not isinstance(task, Problem):
        kind = TASKS[name] if task is None else task
        for key in config["options"]:
            if key not in kind.__dataclass_fields__:
                raise RunFileError(file, f"options.{key}", f"unknown to this version of task {name!r}")
        with fitting(file, "options"):
            task = kind(**config["options"])
    if data is not None and "data" not in task.options():
        raise ValueError(f"task {name!r} reads no data file: leave the path out")
    new: dict[str, Any] = {"steps": steps, "data": data}
    return replace(task, **{key: value for key, value in new.items() if value is not None})


def recorded(
    trainer: Runner[Any],
    folder: RunFolder,
    *,
    save_seconds: float = 60.0,
    save_steps: int | None = None,
    until: int | None = None,
) -> Iterator[Event]:
    """Train, write log and checkpoints into the folder, and yield what happens.

    Args:
        trainer: The run; new from `begin` or going on from `reopen`.
        folder: Its folder, which is unlocked at the end.
        save_seconds: Time between two checkpoints; one more is written at the end.
        save_steps: Iterations between two checkpoints, whichever is due first; None for by time alone.
        until: Number of iterations after which to end; None for the task's ``steps``.

    Yields:
        What `Runner.events` yields, and a `Saved` for every checkpoint.

    Raises:
        BlockingIOError: Another process trains this run.

    Example:
        >>> import tempfile, tracetorch as tt
        >>> trainer = tt.train.Trainer(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}))
        >>> folder = tt.train.begin(trainer, tempfile.mkdtemp())
        >>> [type(event).__name__ for event in tt.train.recorded(trainer, folder, until=1)][0]
        'Progressed'
    """
    folder.lock()
    saved, saved_at = time.monotonic(), trainer.iteration
    try:
        for event in trainer.events(until):
            if isinstance(event, (Logged, Evaluated)):
                folder.append(event.record)
                trainer.fabric.log_dict(_numbers(event.record), step=event.iteration)
            due = save_steps is not None and event.iteration - saved_at >= save_steps
            if due or isinstance(event, Finished) or time.monotonic() - saved > save_seconds:
                folder.save(trainer)
                saved, saved_at = time.monotonic(), event.iteration
                yield Saved(event.iteration, str(folder.path))
            yield event
    finally:
        for logger in trainer.fabric.loggers:
            logger.finalize("success")
        folder.unlock()


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """Return a record as loggers take it: ``train/loss``, ``eval/accuracy`` and so on."""
    plain = ("kind", "iteration", "partial")
    return {f"{record['kind']}/{name}": value for name, value in record.items() if name not in plain}


@dataclass(frozen=True)
class Result:
    """What `fit` returns.

    Attributes:
        trainer: The trained run; ``trainer.net`` is the network.
        records: The log.
        scores: The scores on all held-out data, the task's metric first; empty where the run was stopped.
        path: The run's folder; None where none was asked for.

    Example:
        >>> import tracetorch as tt
        >>> result = tt.train.fit(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}))
        >>> list(tt.layers(result.trainer.net)), list(result.scores), result.path
        (['0', '1', '2'], ['accuracy'], None)
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
    fabric: Fabric | None = None,
) -> Result:
    """Train a task to its end.

    Args:
        task: What to learn.
        rule: How: a word as on the command line, or a rule; None for the task's own.
        run: A folder for the run; None to write nothing.
        on_event: Is called with the trainer and each event; it may call ``trainer.stop()``.
        log_every: Iterations that one record of the log covers.
        fabric: Where to train: device, precision and loggers, of Lightning Fabric; None for the CPU.

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
    trainer = make_runner(task, rule=rule, log_every=log_every, fabric=fabric)
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
    """Return the scores of the last record of kind ``"test"``, the task's metric first; empty where there is none.

    >>> scores_of([{"kind": "test", "iteration": 9, "time_step": 90, "accuracy": 0.9, "seconds": 1.0}])
    {'accuracy': 0.9}
    """
    plain = ("kind", "iteration", "time_step", "seconds", "memory_mb", "partial")
    for record in reversed(records):
        if record["kind"] == "test":
            return {name: value for name, value in record.items() if name not in plain}
    return {}
