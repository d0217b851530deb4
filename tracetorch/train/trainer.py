"""The training loop: one iteration after the other, told as events, resumable from its state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.train.averages import Averages
from tracetorch.train.optimizers import OptimizerState, check_optimizer
from tracetorch.train.runner import Counters, Runner, fitting
from tracetorch.train.schema import RunFileError, check_like
from tracetorch.train.tasks.base import Batch, Outcome, Task


class TrainerState(Counters):
    """The state of a `Trainer`."""

    weights: dict[str, Tensor]
    optimizer: OptimizerState
    stream: dict[str, Tensor]
    task: dict[str, Tensor]


class Trainer(Runner[Task]):
    """Training of a task's network with a learning rule, one iteration at a time.

    It prints nothing and writes nothing: `events` yields what happens, `state_dict` has what a run is made of. The
    random numbers of an iteration depend on the task's seed and the iteration's number alone, so a run that is
    stopped and resumed goes on bit for bit.

    Several processes (a Fabric of several devices) share each batch and average their gradients once per iteration,
    which equals one process with the whole batch where the task's loss is a mean over rows.

    Args:
        task: What to learn.
        rule: How: a word as `read_choice` takes it, or a rule; None for the task's own.
        log_every: Iterations that one record of the log covers.
        fabric: Device, processes and precision; None for one process on the CPU.

    Attributes:
        optimizer: The network's optimizer.
        net: The network.
        iteration: Number of finished iterations.

    Raises:
        ValueError: `log_every` or an option is out of its range, the rule does not fit the task, or there is no such
            device.
        tracetorch.data.DataNotFoundError: The task's data is absent.
        ImportError: A package that the task needs is not installed.

    Example:
        >>> from tracetorch.train.tasks import make
        >>> trainer = Trainer(make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}), rule="trace")
        >>> [type(event).__name__ for event in trainer.events()]
        ['Progressed', 'Progressed', 'Logged', 'Evaluating', 'Evaluated', 'Finished']
    """

    form: ClassVar[Any] = TrainerState

    def _build(self) -> nn.Module:
        net: nn.Module = self.task.build()
        with self._seeded("feedback"):
            tt.set_rule(net, self.choice.rule)
        net = self.fabric.strategy.precision.convert_module(net)
        net.to(self.device)
        if self.fabric.world_size > 1 and self.task.is_stream:
            raise ValueError(f"task {self.task.name!r} is one stream, which several processes cannot share")
        self.optimizer = self.task.optimizer(net)
        return net

    def _scores(self, *, quick: bool) -> dict[str, float]:
        return dict(self.task.evaluate(self.net, quick=quick))

    def arrays(self) -> dict[str, Tensor]:
        """Return the task's arrays to draw."""
        with self.fabric.autocast():
            return self.task.figures(self.net)

    def _learn(self) -> tuple[dict[str, float], int]:
        numbers = Averages()
        learned = False
        fabric = self.fabric
        batch = self.task.batch(self.iteration)
        if fabric.world_size > 1:
            batch = batch.part(fabric.global_rank, fabric.world_size)
        self.task.schedule(self.optimizer, self.iteration)
        self.optimizer.zero_grad()
        for outcome in self._outcomes(batch.like(self.net)):
            if outcome.loss is not None:
                outcome.loss.backward()
                learned = True
            numbers.add(outcome.stats)
        stats = numbers.take()
        if fabric.world_size > 1:
            stats, learned = self._agree(stats, learned)
        if learned:
            self.optimizer.step()
        return stats, batch.time_steps

    def _outcomes(self, batch: Batch) -> Iterator[Outcome]:
        """Yield the windows' losses, each computed in the run's precision; backward is outside of it."""
        outcomes = self.task.losses(self.net, batch)
        while True:
            with self.fabric.autocast():
                outcome = next(outcomes, None)
            if outcome is None:
                return
            yield outcome

    def _agree(self, stats: dict[str, float], learned: bool) -> tuple[dict[str, float], bool]:
        """Average gradients and numbers over the processes; return the numbers, and whether any process has a loss."""
        found: list[Any] = [None] * self.fabric.world_size
        torch.distributed.all_gather_object(found, (stats, learned, self._stop_requested))
        numbers = Averages()
        for theirs, _, _ in found:
            numbers.add(theirs)
        for parameter in (p for p in self.net.parameters() if p.requires_grad):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            self.fabric.all_reduce(parameter.grad, reduce_op="mean")
        self._stop = any(stop for _, _, stop in found)
        return numbers.take(), any(had for _, had, _ in found)

    def _state(self) -> dict[str, Any]:
        stream = tt.get_state(self.net) if self.task.is_stream and self.iteration else {}
        return {
            "weights": dict(self.net.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "stream": dict(stream),
            "task": self.task.state_dict(),
        }

    def _load(self, state: Mapping[str, Any], source: Path) -> None:
        check_like(self.net.state_dict(), state["weights"], source, "run.weights")
        self.net.load_state_dict(state["weights"])
        check_optimizer(self.optimizer, state["optimizer"], source, "run.optimizer")
        with fitting(source, "run.optimizer"):
            self.optimizer.load_state_dict(state["optimizer"])
        if self.task.is_stream and state["iteration"] and not state["stream"]:
            raise RunFileError(source, "run.stream", "empty: the state of the layers is missing")
        tt.reset(self.net)
        if state["stream"]:
            with fitting(source, "run.stream"):
                tt.set_state(self.net, {name: value.to(self.device) for name, value in state["stream"].items()})
        check_like(self.task.state_dict(), state["task"], source, "run.task")
        with fitting(source, "run.task"):
            self.task.load_state_dict(state["task"])
