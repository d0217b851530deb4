"""A task as a user writes it, in a script of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

import tracetorch as tt
from tracetorch.train import Batch, ClassificationTask, option


@dataclass(frozen=True, kw_only=True, eq=False)
class Halves(ClassificationTask):
    """Which half of a sequence has the event."""

    name: ClassVar[str] = "halves"
    summary: ClassVar[str] = "in which half the event comes"

    length: int = option(10, "time steps")
    hidden: int = option(12, "neurons in the hidden layer")
    data: str | None = option(None, "a path, which is not read")
    steps: int = option(20, "number of training iterations")

    def network(self) -> nn.Module:
        """Build one input, a hidden layer, two leaky integrators."""
        return nn.Sequential(
            tt.Layer(nn.Linear(1, self.hidden), tt.LIF(half_life=4)),
            tt.Layer(nn.Linear(self.hidden, 2), tt.LI(half_life=4)),
        )

    def draw(self, seed: int, size: int) -> Batch:
        """Return sequences with one event each, and its half."""
        place = torch.randint(self.length, (size,), generator=torch.Generator().manual_seed(seed))
        x = torch.zeros(self.length, size, 1)
        x[place, torch.arange(size)] = 3.0
        return Batch(x, (place >= self.length // 2).long())

    def batch(self, iteration: int) -> Batch:
        """Return the sequences of an iteration."""
        return self.draw(1000 * self.seed + iteration, self.batch_size)

    def held_out(self, *, quick: bool) -> Iterator[Batch]:
        """Yield other sequences."""
        yield self.draw(10**6, 50 if quick else 200)


@dataclass(frozen=True, kw_only=True, eq=False)
class Unfinished(ClassificationTask):
    """A task that defines no data."""

    name: ClassVar[str] = "unfinished"

    def network(self) -> nn.Module:
        """Build nothing of use."""
        return nn.Linear(1, 1)


class Nameless(Halves):
    """A task without a name."""

    name = None  # type: ignore[assignment]


NET = nn.Linear(1, 1)
