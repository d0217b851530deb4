"""Small tasks for the trainer's tests: a random teacher, once in sequences and once as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.train.tasks.base import Batch, Outcome, StreamTask, Task, option
from tracetorch.train.tasks.seeds import generator


@dataclass(frozen=True, kw_only=True, eq=False)
class Toy(Task):
    """Tell whether more spikes came left or right; the network has dropout, so random numbers matter."""

    name: ClassVar[str] = "toy"
    steps: int = option(12, "iterations")
    eval_every: int = option(4, "iterations between evaluations")
    window: int | None = option(None, "time steps in a call")

    def network(self) -> nn.Module:
        return nn.Sequential(
            tt.Layer(nn.Linear(4, 8), tt.LIF(half_life=3.0, threshold=0.3)),
            nn.Dropout(0.2),
            tt.Layer(nn.Linear(8, 2), tt.LI(half_life=5.0)),
        )

    def lr_scale(self, iteration: int) -> float:
        return 1.0 / (1 + iteration)

    def batch(self, iteration: int) -> Batch:
        x = (torch.rand(10, 6, 4, generator=generator(self.seed, "batch", iteration)) < 0.3).float()
        return Batch(x, (x[..., :2].sum((0, 2)) > x[..., 2:].sum((0, 2))).long())

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Outcome]:
        tt.reset(net)
        for window in batch.x.split(self.window or len(batch.x)):
            loss = nn.functional.cross_entropy(tt.scan(net, window, out="last"), batch.y)
            yield Outcome(loss, {"loss": loss.item()})

    @torch.no_grad()
    def evaluate(self, net: nn.Module, *, quick: bool = False) -> dict[str, float]:
        net.eval()
        tt.reset(net)
        batch = self.batch(-1)
        return {"accuracy": (tt.scan(net, batch.x, out="last").argmax(-1) == batch.y).float().mean().item()}

    def figures(self, net: nn.Module) -> dict[str, Tensor]:
        net.eval()
        return {"input": self.batch(-1).x[:, 0], "output": torch.zeros(10, 2), "spikes.0": torch.ones(10, 8)}


@dataclass(frozen=True, kw_only=True, eq=False)
class ToyStream(StreamTask):
    """The same as one stream: an answer every ten steps, never a reset but the first; no loss at every third."""

    name: ClassVar[str] = "toy-stream"
    steps: int = option(12, "iterations")
    eval_every: int = option(4, "iterations between evaluations")

    @cached_property
    def _right(self) -> Tensor:
        return torch.zeros(self.steps)

    def network(self) -> nn.Module:
        return nn.Sequential(
            tt.Layer(nn.Linear(4, 8), tt.ALIF(half_life=3.0, threshold=0.3, adaptation_half_life=30.0, adaptation=0.1)),
            tt.Layer(nn.Linear(8, 2), tt.LI(half_life=5.0)),
        )

    def batch(self, iteration: int) -> Batch:
        x = (torch.rand(10, 1, 4, generator=generator(self.seed, "batch", iteration)) < 0.3).float()
        extra = {"iteration": torch.tensor(iteration)}
        return Batch(x, (x[..., :2].sum((0, 2)) > x[..., 2:].sum((0, 2))).long(), extra)

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Outcome]:
        iteration = int(batch.extra["iteration"])
        if iteration == 0:
            tt.reset(net)
        output = tt.scan(net, batch.x, out="last")
        if iteration % 3 == 2:
            yield Outcome(None, {})
            return
        self._right[iteration] = (output.argmax(-1) == batch.y).item()
        loss = nn.functional.cross_entropy(output, batch.y)
        yield Outcome(loss, {"loss": loss.item()})

    def evaluate(self, net: nn.Module, *, quick: bool = False) -> dict[str, float]:
        return {"accuracy": self._right.mean().item()}

    def figures(self, net: nn.Module) -> dict[str, Tensor]:
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        return {"right": self._right.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._right.copy_(state["right"])
