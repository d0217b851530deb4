"""What every run is: iteration after iteration, told as events, resumable from its state."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypedDict

import torch
from torch import nn

import tracetorch as tt
from tracetorch.data import DamagedFileError
from tracetorch.train.averages import Averages
from tracetorch.train.choice import Choice, read_choice
from tracetorch.train.events import Evaluated, Evaluating, Event, Finished, Logged, Progressed
from tracetorch.train.fabric import make_fabric
from tracetorch.train.memory import resident_mb
from tracetorch.train.schema import Count, Positive, Range, RunFileError, Seconds, check
from tracetorch.train.tasks.base import AnyProblem
from tracetorch.train.tasks.seeds import derived_seed

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Means(TypedDict):
    """The state of `Averages`."""

    sums: dict[str, float]
    counts: dict[str, Positive]


class Counters(TypedDict):
    """What every run's state holds beside its parts."""

    averages: Means
    iteration: Count
    time_steps: Count
    seconds: Seconds
    logged_at: Count
    evaluated_at: Count
    tested_at: Annotated[int, Range(-1)]


COUNTERS = tuple(name for name in Counters.__annotations__ if name != "averages")


class Runner(ABC, Generic[AnyProblem]):
    """A run of a task with a learning rule, one iteration at a time; a subclass defines how an iteration learns.

    It prints nothing and writes nothing: `events` yields what happens, `state_dict` has what a run is made of.

    Attributes:
        task: The task, with the options that the rule's word stands for.
        choice: The rule, as a word and as a value.
        net: The network.
        iteration: Number of finished iterations.
        time_steps: Time steps that the network has run in training.
        seconds: Seconds spent in iterations, evaluation left out.
        evaluating: Whether an evaluation is going on: it may be broken off without harm to the state.
        consistent: Whether the state is that after `iteration` iterations; False inside an iteration.
        logged_at: The iteration of the last record of training; so `evaluated_at` and `tested_at` of the scores.
        form: The kind of its state, a ``TypedDict``.
    """

    form: ClassVar[Any] = Counters
    net: nn.Module

    def __init__(
        self,
        task: AnyProblem,
        *,
        rule: str | tt.Rule | Choice | None = None,
        log_every: int = 10,
        fabric: Fabric | None = None,
    ) -> None:
        """Prepare the task's data, build what learns, set the rule; for arguments and errors see `Trainer`.

        Of several processes each has its part of every batch; launch them before the first iteration.
        """
        if log_every < 1:
            raise ValueError(f"log_every must be at least 1, got {log_every}")
        if rule is None:
            rule = task.default_rule
        if isinstance(rule, str):
            rule = read_choice(rule)
        self.choice = rule if isinstance(rule, Choice) else Choice(repr(rule), rule)
        self.task: AnyProblem = self.choice.apply(task)
        self.task.check_options()
        self.fabric = make_fabric() if fabric is None else fabric
        self.device: torch.device = self.fabric.device
        self.log_every = log_every
        self.task.prepare()
        self.iteration = 0
        self.time_steps = 0
        self.seconds = 0.0
        self.evaluating = False
        self.consistent = True
        self._averages = Averages()
        self._stop = self._stop_requested = False
        self.logged_at = 0
        self.evaluated_at = 0
        self.tested_at = -1
        self.net = self._build()

    @abstractmethod
    def _build(self) -> nn.Module:
        """Build what learns, with its rule, on the device; return the network."""

    def events(self, until: int | None = None) -> Iterator[Event]:
        """Train, and yield what happens.

        Args:
            until: Number of iterations after which to end; None for the task's ``steps``.

        Yields:
            A `Progressed` for every iteration, a `Logged` every `log_every`, `Evaluating` and `Evaluated` every
            ``eval_every`` of the task and (with all held-out data) at the end, a `Finished` last.
        """
        last = self.task.iterations if until is None else until
        while not self._stop:
            # What is due is told by counters of the state, not by the place in this loop: a checkpoint taken between
            # an iteration and its record or its evaluation makes up for them when the run is resumed.
            if self.iteration % self.log_every == 0 and self.logged_at != self.iteration:
                record = self._record("train", self._averages.take())
                self.logged_at = self.iteration
                yield Logged(self.iteration, record)
            elif self.iteration % self.task.eval_every == 0 and self.evaluated_at != self.iteration:
                yield Evaluating(self.iteration, quick=True)
                record = self._record("eval", self.evaluate(quick=True))
                self.evaluated_at = self.iteration
                yield Evaluated(self.iteration, record)
            elif self.iteration < last:
                stats = self._iterate()
                yield Progressed(self.iteration, self.time_steps, stats, self.seconds)
            else:
                break
        if not self._stop and self.tested_at != self.iteration:
            if self.logged_at != self.iteration:
                # A rest shorter than log_every is told but kept: a longer run that goes on from here logs the same
                # means as one that never paused.
                yield Logged(self.iteration, {**self._record("train", self._averages.means()), "partial": True})
            yield Evaluating(self.iteration, quick=False)
            record = self._record("test", self.evaluate(quick=False))
            self.tested_at = self.iteration
            yield Evaluated(self.iteration, record)
        complete = not self._stop
        self._stop = self._stop_requested = False
        yield Finished(self.iteration, complete=complete)

    def stop(self) -> None:
        """Ask the run to end after the iteration that is going on; may be called from a signal handler.

        Several processes agree on it at the end of an iteration.
        """
        self._stop_requested = True
        self._stop = self._stop or self.fabric.world_size == 1

    def evaluate(self, *, quick: bool = False) -> dict[str, float]:
        """Score the run, the metric first, on a fixed part of the held-out data where `quick` and there is any."""
        self.evaluating = True
        try:
            with self._seeded("evaluate"), self.fabric.autocast():
                return self._scores(quick=quick)
        finally:
            self.evaluating = False
            self.net.train()

    @abstractmethod
    def _scores(self, *, quick: bool) -> dict[str, float]:
        """Return the scores by name, the task's metric first."""

    @abstractmethod
    def arrays(self) -> dict[str, torch.Tensor]:
        """Return arrays to draw, by name, on the CPU; see `tracetorch.train.Task.figures`."""

    @abstractmethod
    def _learn(self) -> tuple[dict[str, float], int]:
        """Run one iteration; return its numbers, and how many time steps it took."""

    def _iterate(self) -> dict[str, float]:
        """Run one iteration and count it; return its numbers."""
        began = time.perf_counter()
        self.consistent = False
        with self._seeded("iteration", self.iteration):
            stats, steps = self._learn()
        self._averages.add(stats)
        self.iteration += 1
        self.time_steps += steps
        self.consistent = True
        self.seconds += time.perf_counter() - began
        return stats

    def _record(self, kind: str, numbers: Mapping[str, float]) -> dict[str, Any]:
        """Return one line of the log."""
        record: dict[str, Any] = {"kind": kind, "iteration": self.iteration, "time_step": self.time_steps}
        return {**record, **numbers, "seconds": round(self.seconds, 4), "memory_mb": round(resident_mb(), 3)}

    @contextmanager
    def _seeded(self, *names: int | str) -> Iterator[None]:
        """Seed torch's default generators for a while; the caller's random state is put back."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derived_seed(self.task.seed, *names))
            yield

    def state_dict(self) -> dict[str, Any]:
        """Return everything the run has become, counters included: plain values and the run's own tensors, no copies.

        Raise RuntimeError where an iteration was broken off in its middle.
        """
        if not self.consistent:
            raise RuntimeError(f"iteration {self.iteration} was broken off in its middle: there is no state to save")
        return {
            **self._state(),
            "averages": self._averages.state_dict(),
            **{name: getattr(self, name) for name in COUNTERS},
        }

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """Return what the run has become, counters left out."""

    def load_state_dict(self, state: Mapping[str, Any], *, source: Path = Path("state")) -> None:
        """Restore what `state_dict` returned, in a run made with the same task and rule.

        Raise RunFileError, which names the source, where something is missing, of another kind, or of another network.
        """
        check(self.form, state, source, "run")
        for name in ("logged_at", "evaluated_at", "tested_at"):
            check(Annotated[int, Range(-1, state["iteration"])], state[name], source, f"run.{name}")
        if state["averages"]["sums"].keys() != state["averages"]["counts"].keys():
            raise RunFileError(source, "run.averages", "sums and counts are of other names")
        self._load(state, source)
        self._averages.load_state_dict(state["averages"])
        for name in COUNTERS:
            setattr(self, name, state[name])
        self.consistent = True

    @abstractmethod
    def _load(self, state: Mapping[str, Any], source: Path) -> None:
        """Restore what `_state` returned."""


@contextmanager
def fitting(source: Path, field: str) -> Iterator[None]:
    """Raise RunFileError, which names file and field, where a part of a state does not fit."""
    try:
        yield
    except DamagedFileError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError, MemoryError) as error:
        raise RunFileError(source, field, f"cannot be used: {' '.join(str(error).split())}") from error
