"""Yin-Yang: points of three regions of a disc, each coordinate as the time of one spike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tracetorch.train.tasks.base import Batch, option
from tracetorch.train.tasks.drawn import StackedTask, unlabelled
from tracetorch.train.tasks.kinds import Pair, Rate, Size, Span

SMALL, BIG = 0.1, 0.5
"""Radii of the dots and of the disc."""


@dataclass(frozen=True, kw_only=True, eq=False)
class YinYang(StackedTask):
    """Yin-Yang: is a point of the disc in the yin, the yang, or one of the two dots?

    A point has four coordinates, x, y, 1 - x and 1 - y; an input of each fires once, the later the larger it is, and a
    fifth at the last step, when the answer is due. Points of the three classes are equally frequent. The classes are
    not linearly separable.

    Source: L. Kriener, J. Göltz, M. A. Petrovici, "The Yin-Yang dataset" (2022),
    https://doi.org/10.1145/3517343.3517380.
    """

    name: ClassVar[str] = "yin-yang"
    summary: ClassVar[str] = "three regions of a disc, coordinates as spike times (no data needed)"

    time_steps: Pair = option(40, "time steps of a sequence")

    hidden: Size = option(120, "neurons in each hidden layer")
    hidden_layers: Size = option(1, "number of hidden layers")
    half_life: Span = option(20.0, "half-life of the hidden neurons, steps")
    readout_half_life: Span = option(20.0, "half-life of the readout, steps")
    input_scale: Rate = option(3.0, "factor on the first layer's first weights, of torch's default")
    loss: str = option("last", "where the loss is: at the 'last' step; the answer is due there alone")

    shape = (5, 3)

    def network(self) -> nn.Module:
        """Build hidden layers of LIF neurons under leaky integrators."""
        return self.stack(self.input_scale)

    def draw(self, size: int, source: torch.Generator) -> Batch:
        """Draw sequences; ``extra["points"]`` is ``[B, 2]``. See `DrawnTask.draw`."""
        label = torch.randint(0, 3, (size,), generator=source)
        many = torch.rand(64 * size + 512, 2, generator=source, dtype=torch.float64)
        found, points = regions(many), torch.empty(size, 2, dtype=torch.float64)
        for region in range(3):
            points[label == region] = many[found == region][: int((label == region).sum())]
        values = torch.cat([points, 1 - points, torch.ones(size, 1, dtype=torch.float64)], 1)
        times = (values * (self.time_steps - 1)).round().long()
        x = torch.zeros(self.time_steps, size, 5).scatter_(0, times.unsqueeze(0), 1.0)
        y = unlabelled(self.time_steps, size)
        y[-1] = label
        return Batch(x, y, {"points": points})


def regions(points: Tensor) -> Tensor:
    """Return the region of points ``[n, 2]`` in the unit square: 0 yin, 1 yang, 2 a dot, -1 outside the disc.

    >>> import torch
    >>> regions(torch.tensor([[0.75, 0.5], [0.5, 0.9], [0.5, 0.1], [0.0, 0.0]])).tolist()
    [2, 0, 1, -1]
    """
    centre, right, left = (
        torch.linalg.vector_norm(points - points.new_tensor(place), dim=-1)
        for place in ((BIG, BIG), (1.5 * BIG, BIG), (0.5 * BIG, BIG))
    )
    lobe = 0.5 * BIG
    yin = (left <= lobe) | ((points[:, 1] > BIG) & (right > lobe))
    dot = (left < SMALL) | (right < SMALL)
    return torch.where(centre > BIG, -1, torch.where(dot, 2, torch.where(yin, 0, 1)))
