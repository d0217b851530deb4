"""Pattern generation of the e-prop paper: turn a frozen noise into given curves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.train.schema import Range
from tracetorch.train.tasks.base import Batch, Outcome, Task, option
from tracetorch.train.tasks.classification import record
from tracetorch.train.tasks.kinds import MOST, Count, Rate, Size, Span
from tracetorch.train.tasks.networks import stack
from tracetorch.train.tasks.seeds import generator

PERIODS = (1, 2, 3, 5)
"""Periods of the sinusoids that a target is the sum of, in a sequence."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pattern(Task):
    r"""Pattern generation: frozen spikes drive a recurrent network, whose readouts follow given curves.

    Each curve is a sum of four sinusoids of 1, 2, 3 and 5 periods with random amplitudes and phases, of variance one.
    Input and curves follow from the seed and are the same in all iterations, so nothing is held out: the score says
    how well a rule fits, which is the normalized mean squared error
    :math:`\sum (y - y^*)^2 / \sum (y^* - \overline{y^*})^2`, 1 for a constant.

    Source: G. Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking neurons" (2020),
    https://doi.org/10.1038/s41467-020-17236-y, after W. Nicola, C. Clopath, "Supervised learning in spiking neural
    networks with FORCE training" (2017), https://doi.org/10.1038/s41467-017-01827-3.
    """

    name: ClassVar[str] = "pattern"
    summary: ClassVar[str] = "turn frozen noise into given curves: a fit, no labels (no data needed)"
    metric: ClassVar[str] = "nmse"
    higher_is_better: ClassVar[bool] = False
    scored_on: ClassVar[str] = "the pattern itself"
    default_rule: ClassVar[str] = "eprop"

    time_steps: Annotated[int, Range(10, MOST)] = option(500, "time steps of the pattern")
    curves: Size = option(3, "number of readouts, each with a curve of its own")
    inputs: Size = option(50, "number of inputs")
    chance: Annotated[float, Range(1e-9, 1.0)] = option(0.05, "probability that an input fires in a step")
    hidden: Size = option(100, "neurons in the hidden layer")
    recurrent: bool = option(True, "dense recurrent weights in the hidden layer")
    half_life: Span = option(15.0, "half-life of the hidden neurons, steps")
    readout_half_life: Span = option(15.0, "half-life of the readout, steps")
    window: Size | None = option(None, "time steps in one call; none for the whole sequence")
    lr: Rate = option(3e-3, "learning rate of the synapses (Adam)")
    steps: Count = option(500, "number of training iterations")

    def network(self) -> nn.Module:
        """Build a layer of LIF neurons under leaky integrators, one for each curve."""
        half_lives = {"half_life": self.half_life, "readout_half_life": self.readout_half_life}
        return stack((self.inputs, self.hidden, self.curves), **half_lives, recurrent=self.recurrent, input_scale=3.0)

    @cached_property
    def _pattern(self) -> Batch:
        source = generator(self.seed, self.name)
        x = (torch.rand(self.time_steps, 1, self.inputs, generator=source) < self.chance).float()
        amplitude, phase = torch.rand(2, len(PERIODS), self.curves, generator=source)
        time = torch.arange(self.time_steps)[:, None, None] / self.time_steps
        turns = time * torch.tensor(PERIODS)[:, None] + phase
        y = ((0.5 + amplitude) * torch.sin(2 * math.pi * turns)).sum(1)
        return Batch(x, ((y - y.mean(0)) / y.std(0, correction=0)).unsqueeze(1))

    def batch(self, iteration: int) -> Batch:
        """Return the pattern: inputs ``[T, 1, inputs]``, targets ``[T, 1, curves]``."""
        return self._pattern

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Outcome]:
        """Yield the mean squared error, window by window."""
        batch = batch.like(net)
        tt.reset(net)
        whole = (tt.rules.bptt(), tt.rules.rate())
        size = self.window or batch.time_steps
        if any(layer.rule in whole for layer in tt.layers(net).values()):
            size = batch.time_steps
        for x, target in zip(batch.x.split(size), batch.y.split(size), strict=True):
            error = (tt.scan(net, x) - target).square()
            loss = error.sum() / batch.y.numel()
            yield Outcome(loss, {"loss": float(loss.detach()), self.metric: float(error.detach().mean())})

    @torch.no_grad()
    def evaluate(self, net: nn.Module, *, quick: bool = False) -> dict[str, float]:
        """Return the normalized mean squared error on the pattern."""
        batch = self._pattern.like(net)
        tt.reset(net)
        error = (tt.scan(net, batch.x) - batch.y).square().mean()
        tt.reset(net)
        return {self.metric: float(error)}

    def figures(self, net: nn.Module) -> dict[str, Tensor]:
        """Return the raster, membranes and output of the pattern."""
        return record(net, self._pattern.x)
