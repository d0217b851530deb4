"""Run a task with rewards: one stream of episodes, learned from while it goes on."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.rl import OptimizerStep
from tracetorch.train.optimizers import check_optimizer
from tracetorch.train.reward.base import RewardTask
from tracetorch.train.reward.play import play
from tracetorch.train.runner import Counters, Runner, fitting
from tracetorch.train.schema import Count, check_like

WINDOW = 100
"""Number of episodes that a score is the mean of."""


class RewardState(Counters):
    """The state of a `RewardRunner`."""

    stream: dict[str, Any]
    returns: list[float]
    episodes: Count
    best: float | None
    solved: float | None


class RewardRunner(Runner[RewardTask]):
    """Training of an agent that lives in a task's environment and learns from each step once.

    Nothing of the stream is kept but the last 100 returns. A run that is stopped and resumed goes on bit for bit, also
    in the middle of an episode, which is played again from its seed and actions.

    Attributes:
        stream: The agent and its environments; for the other attributes see `Runner`.

    Example:
        >>> from tracetorch.train.tasks import make
        >>> run = RewardRunner(make("memorychain", {"length": 2, "steps": 8, "chunk": 4}))
        >>> [type(event).__name__ for event in run.events()]
        ['Progressed', 'Progressed', 'Logged', 'Evaluating', 'Evaluated', 'Finished']
    """

    form: ClassVar[Any] = RewardState

    def _build(self) -> nn.Module:
        if self.fabric.world_size > 1 or self.fabric.strategy.precision.precision != "32-true":
            raise ValueError(f"task {self.task.name!r} has rewards: it runs in one process, with precision 32-true")
        self.stream = self.task.stream(self.choice.rule, self.device)
        self._returns: deque[float] = deque(maxlen=WINDOW)
        self._episodes = 0
        self._best = -math.inf
        self._solved = math.nan
        return self.stream.agent.net

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

    def _load(self, state: Mapping[str, Any], source: Path) -> None:
        model = _opened(self.stream.state_dict())
        model["agent"]["stream"] = Any  # what the layers hold depends on the steps so far
        step = self.stream.agent.step
        if isinstance(step, OptimizerStep):
            model["agent"]["step"] = {"optimizer": Any}
        check_like(model, state["stream"], source, "run.stream")
        if isinstance(step, OptimizerStep):
            place = "run.stream.agent.step.optimizer"
            check_optimizer(step.optimizer, state["stream"]["agent"]["step"]["optimizer"], source, place)
        with fitting(source, "run.stream"):
            self.stream.load_state_dict(state["stream"])
        with fitting(source, "run.returns"):
            if len(state["returns"]) != min(state["episodes"], WINDOW):
                raise ValueError(f"{len(state['returns'])} returns, after {state['episodes']} episodes")
        self._returns = deque(state["returns"], maxlen=WINDOW)
        self._episodes = state["episodes"]
        self._best = -math.inf if state["best"] is None else state["best"]
        self._solved = math.nan if state["solved"] is None else state["solved"]


def _opened(state: Any) -> Any:
    """Return the state of a fresh agent with ``Any`` in every place that is filled only later."""
    if isinstance(state, dict):
        return {key: _opened(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)) and state:
        return type(state)(_opened(item) for item in state)
    return Any if state is None or isinstance(state, (list, tuple)) else state
