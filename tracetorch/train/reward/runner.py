"""Run a task with rewards: one stream of episodes, learned from while it goes on."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import tracetorch as tt
from tracetorch.train.choice import Choice
from tracetorch.train.reward.base import RewardTask
from tracetorch.train.reward.play import play
from tracetorch.train.runner import Runner

WINDOW = 100
"""Number of episodes that a score is the mean of."""


class RewardRunner(Runner[RewardTask]):
    """Let an agent live in a task's environment and learn from each step once.

    Nothing of the stream is kept but the last 100 returns. A run that is stopped and resumed goes on bit for bit, also
    in the midst of an episode, which is played again from its seed and actions.

    Attributes:
        stream: The agent and its environments; for the other attributes see `Runner`.

    Example:
        >>> from tracetorch.train.tasks import make
        >>> run = RewardRunner(make("memorychain", {"length": 2, "steps": 8, "chunk": 4}))
        >>> [type(event).__name__ for event in run.events()]
        ['Progressed', 'Progressed', 'Logged', 'Evaluating', 'Evaluated', 'Finished']
    """

    def __init__(
        self,
        task: RewardTask,
        *,
        rule: str | tt.Rule | Choice | None = None,
        log_every: int = 10,
        device: str | torch.device = "cpu",
    ) -> None:
        """Make environment and agent.

        Args:
            task: What to learn.
            rule: How: a word as `read_choice` takes it, or a rule; None for the task's own.
            log_every: Iterations that one record of the log covers.
            device: Where to train.

        Raises:
            ValueError: `log_every` is not positive, the rule does not fit the task, or there is no such device.
            ImportError: The environment's package is not installed.
        """
        super().__init__(task, rule=rule, log_every=log_every, device=device)
        self.stream = self.task.stream(self.choice.rule, self.device)
        self.net = self.stream.agent.net
        self._returns: deque[float] = deque(maxlen=WINDOW)
        self._episodes = 0
        self._best = -math.inf
        self._solved = math.nan

    def _learn(self) -> tuple[dict[str, float], int]:
        rows, ended = self.task.rows, []
        steps = min(self.task.chunk, self.task.steps - self.time_steps)
        count = max(1, steps // rows)
        for step in range(count):
            for episode in self.stream.step():
                ended.append(episode)
                self._count(episode.total, self.time_steps + (step + 1) * rows)
        if not ended:
            return {}, count * rows
        totals = [episode.total for episode in ended]
        lengths = [episode.steps for episode in ended]
        stats = {"return": sum(totals) / len(totals), "episode_steps": sum(lengths) / len(lengths)}
        return stats, count * rows

    def _count(self, total: float, steps: int) -> None:
        self._returns.append(total)
        self._episodes += 1
        if len(self._returns) == WINDOW:
            mean = sum(self._returns) / WINDOW
            self._best = max(self._best, mean)
            if mean >= self.task.goal and math.isnan(self._solved):
                self._solved = float(steps)

    def _scores(self, *, quick: bool) -> dict[str, float]:
        mean = sum(self._returns) / len(self._returns) if self._returns else math.nan
        best = self._best if math.isfinite(self._best) else math.nan
        return {"return": mean, "best": best, "steps_to_goal": self._solved, "episodes": float(self._episodes)}

    def arrays(self) -> dict[str, Tensor]:
        """Play an episode with the weights of now, without learning; return what there is to draw of it."""
        arrays = play(self.stream.agent, self.task)
        before = dict(tt.layers(self.task.build()))
        for name, layer in tt.layers(self.net).items():
            start = before.get(name.removeprefix("net."))
            learned = any(p.requires_grad for p in layer.neuron.parameters())
            if learned and start is not None and layer.neuron.half_life is not None:
                for when, one in (("before", start), ("after", layer)):
                    arrays[f"half_life.{name}.{when}"] = torch.as_tensor(one.neuron.half_life).detach().flatten().cpu()
        return arrays

    def _state(self) -> dict[str, Any]:
        return {
            "stream": self.stream.state_dict(),
            "returns": list(self._returns),
            "episodes": self._episodes,
            "best": None if math.isinf(self._best) else self._best,
            "solved": None if math.isnan(self._solved) else self._solved,
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        self.stream.load_state_dict(state["stream"])
        self._returns = deque(state["returns"], maxlen=WINDOW)
        self._episodes = state["episodes"]
        self._best = -math.inf if state["best"] is None else state["best"]
        self._solved = math.nan if state["solved"] is None else state["solved"]
