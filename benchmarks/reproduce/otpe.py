"""OTPE's comparison of learning rules on Randman, spikes that tell by their time.

Source: T. Summe, C. J. S. Schaefer, S. Joshi, "Estimating Post-Synaptic Effects for Online Training of Feed-Forward
SNNs" (2023), https://arxiv.org/abs/2311.16151. Settings and figures are those of the authors' code and notebook,
https://github.com/Intelligent-Microsystems-Lab/OTPE: the output layer's spikes are the answer, a loss at each step, one
update for a sequence. The figures are means of four seeds after 5,000 updates; the notebook does not state the number
of units they are for, and we take the code's default.

Differences: other manifolds by the same formula; 25,600 points, 200 batches in an epoch, where the published run draws
each batch afresh; 2,000 points are held out, where it has 10,000. BPTT has the reset's derivative, as published; the
other rules drop it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import tracetorch as tt
from benchmarks.reproduce.published import Examples
from tracetorch.neurons import LIF, SoftReset
from tracetorch.neurons.surrogates import FastSigmoid
from tracetorch.rules import Rule
from tracetorch.train.tasks.randman import Randman
from tracetorch.train.tasks.seeds import generator

RULES: Mapping[str, Rule] = {
    "bptt": tt.rules.bptt(),
    "ottt": tt.rules.ottt(),
    "ostl": tt.rules.ostl(),
    "otpe": tt.rules.otpe(),
    "trace": tt.rules.trace(),
    "cascade": tt.rules.cascade(),
}
CASE, CLASSES, INPUTS, STEPS = "time-coded", 10, 50, 50
BETA = 1 / (1 + math.exp(-3.0))


@dataclass(frozen=True)
class RandmanTable:
    """The table; see the module.

    Args:
        hidden: units in each of the two hidden layers.
        examples: sequences to learn from.
        held_out: sequences that are scored.
        smoothness: exponent with which the manifolds' frequencies fall off.
    """

    hidden: int = 128
    examples: int = 25_600
    held_out: int = 2_000
    smoothness: float = 1.0
    name: str = "randman"
    title: str = "Randman, 10 manifolds of 3 dimensions, 50 steps"
    source: str = "T. Summe et al. (2023), https://arxiv.org/abs/2311.16151, and its authors' code"
    rows: tuple[str, ...] = tuple(RULES)
    cases: tuple[str, ...] = (CASE,)
    epochs: int = 25
    parts: int = 1
    optimizer: type[torch.optim.Optimizer] = torch.optim.Adamax

    @property
    def published(self) -> Mapping[tuple[str, str], float]:
        """Accuracies in %."""
        return {(CASE, row): value for row, value in {"ottt": 70.5, "ostl": 78.3, "otpe": 88.4, "bptt": 88.6}.items()}

    @property
    def cells(self) -> tuple[tuple[str, str], ...]:
        """What is run."""
        return tuple((CASE, row) for row in self.rows)

    def data(self, folder: str | None) -> Examples:
        """Draw the sequences."""
        task = Randman(classes=CLASSES, inputs=INPUTS, dimensions=3, smoothness=self.smoothness, time_steps=STEPS)
        source, xs, ys = generator(0, "randman", "published"), [], []
        total = self.examples + self.held_out
        for begin in range(0, total, 400):
            batch = task.draw(min(400, total - begin), source)
            xs.append(batch.x.to(torch.uint8).transpose(0, 1))
            ys.append(batch.y[-1])
        (x, x_test), (y, y_test) = (torch.cat(z).split([self.examples, self.held_out]) for z in (xs, ys))
        return Examples(x, y, x_test, y_test, batch=128)

    def network(self, case: str, row: str) -> nn.Module:
        """Build three layers of spiking neurons, the last of which is the answer."""
        layers = []
        for inputs, units in pairwise((INPUTS, self.hidden, self.hidden, CLASSES)):
            synapse = nn.Linear(inputs, units)
            nn.init.normal_(synapse.weight, std=inputs**-0.5)
            nn.init.zeros_(synapse.bias)
            neuron = LIF(beta=BETA, surrogate=FastSigmoid(10.0), reset=SoftReset(gradient=row == "bptt"))
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
        """Return the class with the most spikes, the first of equals."""
        return outputs.sum(0).argmax(-1)

    def rate(self, case: str, row: str, epoch: int) -> float:
        """Return the learning rate."""
        return 1e-3


RANDMAN = RandmanTable()
