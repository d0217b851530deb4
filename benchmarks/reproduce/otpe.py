"""OTPE's comparison of learning rules on Randman, spikes that tell by their time.

Source: T. Summe, C. J. S. Schaefer, S. Joshi, "Estimating Post-Synaptic Effects for Online Training of Feed-Forward
SNNs" (2023), https://arxiv.org/abs/2311.16151. Settings and figures are those of the authors' code and notebook,
https://github.com/Intelligent-Microsystems-Lab/OTPE: the output layer's spikes are the answer, a loss at each step, one
update for a sequence, each batch drawn afresh. The figures are means of four seeds after 5,000 updates; the notebook
does not state the number of units they are for, and we take the code's default.

The manifolds are those of the generator that the code calls, https://github.com/fzenke/randman, whose frequencies start
at 1 with the weights 1/3, 1/4, 1/5, ...: rougher ones than those of `Randman`, which is by the paper's formula. As
published, BPTT, OSTL and OTPE have the reset's derivative, and the top layer under OTPE is credited as under OSTL.

Differences: other random numbers; coordinates are multiples of 1/4096; under OTTT the traces of biases' constant inputs
are kept; OTPE sends below a layer the present derivative of its spikes, where the published code sends a mean over
time; it matters for the lowest of three layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import tracetorch as tt
from benchmarks.reproduce.published import Batch
from tracetorch.neurons import LIF, SoftReset
from tracetorch.neurons.surrogates import FastSigmoid
from tracetorch.rules import Rule
from tracetorch.train.tasks.seeds import generator

RULES: Mapping[str, Rule] = {
    "bptt": tt.rules.bptt(),
    "ottt": tt.rules.ottt(),
    "ostl": tt.rules.ostl(),
    "otpe": tt.rules.otpe(),
    "trace": tt.rules.trace(),
    "cascade": tt.rules.cascade(),
    "sltt": tt.rules.sltt(),
}
CASE, CLASSES, INPUTS, STEPS, DIMENSIONS = "time-coded", 10, 50, 50, 3
BETA = 1 / (1 + math.exp(-3.0))
DETACHED = ("ottt", "trace", "cascade", "sltt")
"""Rules whose layers drop the reset's derivative."""
PLACES, FREQUENCIES = 4096, 1000
"""Values that a coordinate takes, and the frequency below which those of a manifold are."""


@cache
def manifolds(frequencies: int) -> Tensor:
    """Return the factors of ten manifolds at each value of a coordinate, ``[PLACES, classes, inputs, dimensions]``."""
    source = generator(0, "randman", "published")
    shape = (CLASSES, INPUTS, DIMENSIONS)
    place, total = torch.arange(PLACES).view(-1, 1, 1, 1) / PLACES, torch.zeros(PLACES, *shape)
    for k in range(1, frequencies):
        size, pace, phase = torch.rand(3, *shape, generator=source)
        total += size / (k + 2) * torch.sin(2 * math.pi * (k * place * pace + phase))
    return total


@dataclass(frozen=True)
class Points:
    """Sequences that are drawn as they are asked for.

    Args:
        iterations: batches in an epoch.
        points: points of each manifold that are drawn together; their extremes are the first and the last step.
        batch: those of them that make a batch.
        frequencies: the frequency below which those of the manifolds are.
    """

    iterations: int
    points: int
    batch: int
    frequencies: int

    def draw(self, *names: int | str) -> Batch:
        """Draw points of all manifolds, in random order; return steps, ``[N, inputs]``, and labels."""
        source, factors = generator(0, "randman", *names), manifolds(self.frequencies)
        places = torch.randint(0, PLACES, (DIMENSIONS, self.points), generator=source)
        chosen = [factors[:, :, :, d].index_select(0, places[d]) for d in range(DIMENSIONS)]
        values = torch.stack(chosen).prod(0)  # [N, classes, inputs]
        least, most = values.amin(0), values.amax(0)
        steps = ((values - least) / (most - least + 1e-7) * STEPS).long()
        order = torch.randperm(self.points * CLASSES, generator=source)
        return steps.flatten(0, 1)[order], torch.arange(CLASSES).repeat(self.points)[order]

    def batch_of(self, seed: int, iteration: int) -> Batch:
        """Return inputs ``[T, B, inputs]`` and labels of an iteration."""
        steps, labels = self.draw(seed, iteration)
        return spikes(steps[: self.batch]), labels[: self.batch]

    def held_out(self, limit: int | None = None) -> Iterator[Batch]:
        """Yield the held-out sequences, the first `limit` of them if it is set."""
        steps, labels = self.draw("held out")
        for x, y in zip(steps[:limit].split(500), labels[:limit].split(500), strict=True):
            yield spikes(x), y


def spikes(steps: Tensor) -> Tensor:
    """Return sequences whose inputs fire once, at the steps ``[B, inputs]``: ``[T, B, inputs]``."""
    return torch.zeros(STEPS, *steps.shape).scatter_(0, steps.unsqueeze(0), 1.0)


@dataclass(frozen=True)
class RandmanTable:
    """The table; see the module.

    Args:
        hidden: units in each of the two hidden layers.
        points: points of each manifold that are drawn together, and held out.
        iterations: updates in an epoch.
        frequencies: the frequency below which those of the manifolds are.
    """

    hidden: int = 128
    points: int = 1_000
    iterations: int = 200
    frequencies: int = FREQUENCIES
    name: str = "randman"
    title: str = "Randman, 10 manifolds of 3 dimensions, 50 steps"
    source: str = "T. Summe et al. (2023), https://arxiv.org/abs/2311.16151, and its authors' code"
    rows: tuple[str, ...] = tuple(RULES)
    cases: tuple[str, ...] = (CASE,)
    epochs: int = 25
    parts: int = 1
    best: bool = False
    optimizer: type[torch.optim.Optimizer] = torch.optim.Adamax

    @property
    def published(self) -> Mapping[tuple[str, str], float]:
        """Accuracies in %."""
        return {(CASE, row): value for row, value in {"ottt": 70.5, "ostl": 78.3, "otpe": 88.4, "bptt": 88.6}.items()}

    @property
    def cells(self) -> tuple[tuple[str, str], ...]:
        """What is run."""
        return tuple((CASE, row) for row in self.rows)

    def data(self, folder: str | None) -> Points:
        """Return what draws the sequences."""
        return Points(self.iterations, self.points, min(128, self.points * CLASSES), self.frequencies)

    def network(self, case: str, row: str) -> nn.Module:
        """Build three layers of spiking neurons, the last of which is the answer."""
        layers = []
        for inputs, units in pairwise((INPUTS, self.hidden, self.hidden, CLASSES)):
            synapse = nn.Linear(inputs, units)
            nn.init.trunc_normal_(synapse.weight, std=1.0, a=-2.0, b=2.0)
            nn.init.zeros_(synapse.bias)
            with torch.no_grad():
                synapse.weight *= inputs**-0.5 / 0.87962566  # the deviation of what two deviations leave
            neuron = LIF(beta=BETA, surrogate=FastSigmoid(10.0), reset=SoftReset(gradient=row not in DETACHED))
            layers.append(tt.Layer(synapse, neuron))
        net = nn.Sequential(*layers)
        tt.set_rule(net, RULES[row])
        return net

    def outputs(self, net: nn.Module, x: Tensor, case: str, row: str) -> Tensor:
        """Run sequences; return the spikes of all steps."""
        return tt.scan(net, x)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy of all steps."""
        return cross_entropy(outputs.flatten(0, 1), y.repeat(len(outputs)))

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the class with the most spikes, the first of equals, and -1 where no unit fires."""
        counts = outputs.sum(0)
        return counts.argmax(-1).where(counts.sum(-1) > 0, -1)

    def rate(self, case: str, row: str, epoch: int) -> float:
        """Return the learning rate."""
        return 1e-3


RANDMAN = RandmanTable()
