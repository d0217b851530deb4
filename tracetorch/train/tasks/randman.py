"""Randman: points of random smooth manifolds, each coordinate as the time of one spike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from tracetorch.train.schema import Range
from tracetorch.train.tasks.base import Batch, option
from tracetorch.train.tasks.drawn import StackedTask, unlabelled
from tracetorch.train.tasks.kinds import Pair, Rate, Size, Span
from tracetorch.train.tasks.seeds import generator

CUTOFF = 1e-3
"""Least weight of a frequency that is not left out."""
PROBES = 2000
"""Points by which the coordinates of a manifold are scaled to [0, 1]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Randman(StackedTask):
    r"""Randman: which of some random smooth manifolds is a point of?

    A manifold of a class maps `dimensions` coordinates u in [0, 1] to one number for each input, a product of random
    Fourier series, scaled to [0, 1]:

    .. math:: x_i(u) = \prod_d \sum_k k^{-\alpha}\, A_{idk} \sin\big(2 \pi (k\, u_d B_{idk} + C_{idk})\big)

    with A, B and C uniform in [0, 1]. Each input fires once, the later the larger its number is, so that only *when* it
    fires says anything. The larger `smoothness`, :math:`\alpha`, the easier. The manifolds follow from the seed; the
    held-out points are other ones on the same.

    Source: F. Zenke, T. P. Vogels, "The Remarkable Robustness of Surrogate Gradient Learning for Instilling Complex
    Function in Spiking Neural Networks" (2021), https://doi.org/10.1162/neco_a_01367.
    """

    name: ClassVar[str] = "randman"
    summary: ClassVar[str] = "random smooth manifolds, coordinates as spike times (no data needed)"

    classes: Pair = option(10, "number of manifolds")
    inputs: Size = option(20, "number of inputs, each of which fires once")
    dimensions: Size = option(1, "dimensions of a manifold")
    smoothness: Annotated[float, Range(0.5, 1e3)] = option(2.0, "exponent with which frequencies fall off")
    time_steps: Pair = option(50, "time steps of a sequence")

    hidden_layers: Size = option(1, "number of hidden layers")
    half_life: Span = option(15.0, "half-life of the hidden neurons, steps")
    readout_half_life: Span = option(15.0, "half-life of the readout, steps")
    input_scale: Rate = option(4.0, "factor on the first layer's first weights, of torch's default")
    loss: str = option("last", "where the loss is: at the 'last' step; the answer is due there alone")

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of input channels and of classes."""
        return self.inputs, self.classes

    def network(self) -> nn.Module:
        """Build hidden layers of LIF neurons under leaky integrators."""
        return self.stack(self.input_scale)

    @cached_property
    def _series(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the coefficients, ``[3, classes, inputs, dimensions, K]``, and least values and ranges."""
        source = generator(self.seed, self.name, "manifolds")
        count = math.ceil(CUTOFF ** (-1 / self.smoothness)) - 1
        shape = (3, self.classes, self.inputs, self.dimensions, min(count, 1000))
        series = torch.rand(shape, generator=source, dtype=torch.float64)
        probes = torch.rand(PROBES, self.dimensions, generator=source, dtype=torch.float64)
        least, most = (torch.empty(self.classes, self.inputs, dtype=torch.float64) for _ in range(2))
        for label in range(self.classes):
            values = along(probes, series[:, label], self.smoothness)
            least[label], most[label] = values.amin(0), values.amax(0)
        return series, least, most - least

    def draw(self, size: int, source: torch.Generator) -> Batch:
        """Draw sequences. See `DrawnTask.draw`."""
        label = torch.randint(0, self.classes, (size,), generator=source)
        places = torch.rand(size, self.dimensions, generator=source, dtype=torch.float64)
        (series, least, span), values = self._series, torch.empty(size, self.inputs, dtype=torch.float64)
        for one in range(self.classes):
            here = label == one
            values[here] = (along(places[here], series[:, one], self.smoothness) - least[one]) / span[one]
        times = (values.clamp(0, 1) * (self.time_steps - 1)).round().long()
        x = torch.zeros(self.time_steps, size, self.inputs).scatter_(0, times.unsqueeze(0), 1.0)
        y = unlabelled(self.time_steps, size)
        y[-1] = label
        return Batch(x, y)


def along(places: Tensor, series: Tensor, smoothness: float) -> Tensor:
    """Return the points of a manifold, ``[n, inputs]``, at coordinates ``[n, dimensions]``.

    `series` is A, B and C, ``[3, inputs, dimensions, K]``.
    """
    a, b, c = series.unbind(0)
    k = torch.arange(1, a.shape[-1] + 1, dtype=a.dtype)
    waves = torch.sin(2 * math.pi * (k * places[:, None, :, None] * b + c))
    weight = torch.pow(k, -smoothness)
    values: Tensor = (weight * a * waves).sum(-1).prod(-1)
    return values
