"""The training loop: one iteration after the other, told as events, resumable from its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import tracetorch as tt
from tracetorch.train.averages import Averages
from tracetorch.train.choice import Choice
from tracetorch.train.runner import Runner
from tracetorch.train.tasks.base import Task


class Trainer(Runner[Task]):
    """Train a task's network with a learning rule, one iteration at a time.

    It prints nothing and writes nothing: `events` tells what happens, `state_dict` holds what a run is made of. The
    random numbers of an iteration depend on the task's seed and the iteration's number alone, so a run that is
    stopped and resumed goes on bit for bit.

    Attributes:
        optimizer: The network's optimizer; for the other attributes see `Runner`.

    Example:
        >>> from tracetorch.train.tasks import make
        >>> trainer = Trainer(make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}), rule="trace")
        >>> [type(event).__name__ for event in trainer.events()]
        ['Progressed', 'Progressed', 'Logged', 'Evaluating', 'Evaluated', 'Finished']
    """

    def __init__(
        self,
        task: Task,
        *,
        rule: str | tt.Rule | Choice | None = None,
        log_every: int = 10,
        device: str | torch.device = "cpu",
    ) -> None:
        """Prepare the task's data, build its network, set the rule.

        Args:
            task: What to learn.
            rule: How: a word as `read_choice` takes it, or a rule; None for the task's own.
            log_every: Iterations that one record of the log covers.
            device: Where to train.

        Raises:
            ValueError: `log_every` is not positive, the rule does not fit the task, or there is no such device.
            tracetorch.data.DataNotFoundError: The task's data is absent.
        """
        super().__init__(task, rule=rule, log_every=log_every, device=device)
        self.net = self.task.build()
        with self._seeded("feedback"):
            tt.set_rule(self.net, self.choice.rule)
        self.net.to(self.device)
        self.optimizer = self.task.optimizer(self.net)

    def _scores(self, *, quick: bool) -> dict[str, float]:
        return dict(self.task.evaluate(self.net, quick=quick))

    def arrays(self) -> dict[str, Tensor]:
        """Return the task's arrays to draw."""
        return self.task.figures(self.net)

    def _learn(self) -> tuple[dict[str, float], int]:
        numbers = Averages()
        learned = False
        batch = self.task.batch(self.iteration).to(self.device)
        self.task.schedule(self.optimizer, self.iteration)
        self.optimizer.zero_grad()
        for outcome in self.task.losses(self.net, batch):
            if outcome.loss is not None:
                outcome.loss.backward()
                learned = True
            numbers.add(outcome.stats)
        if learned:
            self.optimizer.step()
        return numbers.take(), batch.time_steps

    def _state(self) -> dict[str, Any]:
        stream = tt.get_state(self.net) if self.task.is_stream and self.iteration else {}
        return {
            "weights": dict(self.net.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "stream": dict(stream),
            "task": self.task.state_dict(),
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        self.net.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        tt.reset(self.net)
        if state["stream"]:
            tt.set_state(self.net, {name: value.to(self.device) for name, value in state["stream"].items()})
        self.task.load_state_dict(state["task"])
