"""Binary adding: how many of the marked bits of a stream were ones?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tracetorch.train.tasks.base import Batch, option
from tracetorch.train.tasks.drawn import StackedTask, unlabelled
from tracetorch.train.tasks.kinds import Size, Span


@dataclass(frozen=True, kw_only=True, eq=False)
class BinaryAdding(StackedTask):
    """Binary adding: a stream of random bits, some of which are marked; the number of marked ones is due.

    One input is the bit, the other the mark, so that a unit has to look at both, and keep the sum until the end. With
    10 marks the most frequent sum is right in 24.6 % of the trials.

    Source: the adding problem of S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory" (1997),
    https://doi.org/10.1162/neco.1997.9.8.1735, with bits instead of numbers, as in C. Ma et al., "Spiking Neural
    Networks for Temporal Processing: Status Quo and Future Prospects" (2025), https://arxiv.org/abs/2502.09449. There
    nine bits are marked and the ten sums are equally frequent: ``tracetorch reproduce adding``.
    """

    name: ClassVar[str] = "adding"
    summary: ClassVar[str] = "count the ones among the marked bits of a stream (no data needed)"

    time_steps: Size = option(100, "time steps of a sequence, one bit each")
    marks: Size = option(10, "number of marked bits")

    half_life: Span = option(50.0, "half-life of the hidden neurons, steps")
    readout_half_life: Span = option(50.0, "half-life of the readout, steps")
    loss: str = option("last", "where the loss is: at the 'last' step; the answer is due there alone")

    def __post_init__(self) -> None:
        """Check the options that have a range."""
        super().__post_init__()
        if self.time_steps < self.marks:
            raise ValueError(f"time_steps must be at least marks, {self.marks}, got {self.time_steps}")

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of input channels and of classes."""
        return 2, self.marks + 1

    def draw(self, size: int, source: torch.Generator) -> Batch:
        """Draw sequences. See `DrawnTask.draw`."""
        bits = (torch.rand(self.time_steps, size, generator=source) < 0.5).float()
        places: Tensor = torch.rand(self.time_steps, size, generator=source).argsort(0)[: self.marks]
        marked = torch.zeros(self.time_steps, size).scatter_(0, places, 1.0)
        y = unlabelled(self.time_steps, size)
        y[-1] = (bits * marked).sum(0).long()
        return Batch(torch.stack([bits, marked], -1), y)
