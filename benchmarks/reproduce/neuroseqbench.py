"""NeuroSeqBench's comparison of learning rules, on Binary Adding and on permuted sequential MNIST.

Source: C. Ma, X. Chen, Y. Li, Q. Yang, Y. Wu, G. Li, G. Pan, H. Tang, K. C. Tan, J. Wu, "Spiking Neural Networks for
Temporal Processing: Status Quo and Future Prospects" (2025), https://arxiv.org/abs/2502.09449. Sizes, decays,
surrogates, optimizer and the windows of T-BPTT are those of the configurations in
https://github.com/liyc5929/neuroseqbench; for SLTT and e-prop, whose configurations we did not find, BPTT's are taken.

Differences: other draws of the data, by the same recipe; single precision, where the published runs on MNIST are in
mixed precision. Weights start as torch's default. As published, BPTT and T-BPTT have the reset's derivative and the
others drop it, and a score is the best of all evaluations on the held-out sequences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import tracetorch as tt
from benchmarks.reproduce.published import Examples
from tracetorch.data import mnist
from tracetorch.neurons import IF, LIF, HardReset, Neuron
from tracetorch.neurons.surrogates import StraightThrough
from tracetorch.rules import Rule
from tracetorch.train.tasks.seeds import generator

RULES: Mapping[str, Rule] = {
    "bptt": tt.rules.bptt(),
    "tbptt": tt.rules.tbptt(),
    "ottt": tt.rules.ottt(approximate=True),
    "eprop": tt.rules.eprop(),
    "sltt": tt.rules.sltt(),
    "trace": tt.rules.trace(),
    "cascade": tt.rules.cascade(),
    "lru": tt.rules.drtrl(),
}
"""Rows; `lru` is a layer of linear recurrent units instead, of which `drtrl` is exact."""


@dataclass(frozen=True)
class Setting:
    """One network and how it is trained.

    Args:
        hidden: units in each hidden layer.
        decay: the membrane's, per step; 1 for no leak.
        width: of the surrogate, a rectangle of height 1.
        lr: learning rate of AdamW.
        recurrent: dense recurrent weights in every hidden layer but the last.
        window: steps of a window of T-BPTT.
        falls: by what the learning rate is multiplied after every ten epochs; 1 for a constant one.
    """

    hidden: tuple[int, ...]
    decay: float
    width: float
    lr: float
    recurrent: bool
    window: int
    falls: float = 0.8

    def neuron(self, *, gradient: bool) -> Neuron:
        """Return a hidden neuron: threshold 0.5, hard reset to 0."""
        options = {"threshold": 0.5, "surrogate": StraightThrough(1.0, self.width / 2)}
        reset = HardReset(gradient=gradient)
        if self.decay == 1:
            return IF(**options, reset=reset)
        return LIF(**options, reset=reset, beta=self.decay)


@dataclass(frozen=True)
class SequenceTable:
    """A table of NeuroSeqBench.

    Args:
        name: the command's word.
        title: the heading.
        settings: by column.
        published: accuracies in %, by column and row.
        inputs: input channels.
        epochs: as published.
        parts: evaluations in an epoch.
        mean: whether the mean of all outputs is the answer, or the last of them.
        smoothing: of the labels in the loss.
        max_phase: greatest angle of the linear recurrent units, radians per step.
        overrides: other settings that a row was published with, by column and row.
    """

    name: str
    title: str
    settings: Mapping[str, Setting]
    published: Mapping[tuple[str, str], float]
    inputs: int
    epochs: int
    parts: int
    mean: bool
    smoothing: float
    max_phase: float
    overrides: Mapping[tuple[str, str], Setting] = field(default_factory=dict)
    rows: tuple[str, ...] = tuple(RULES)
    best: bool = True
    optimizer: type[torch.optim.Optimizer] = torch.optim.AdamW
    source: str = "C. Ma et al. (2025), https://arxiv.org/abs/2502.09449"

    @property
    def cases(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self.settings)

    @property
    def cells(self) -> tuple[tuple[str, str], ...]:
        """What is run, column and row: all that is published, and what we add."""
        added = {(case, row) for case in self.cases for row in ("trace", "cascade")} | {(self.cases[0], "lru")}
        return tuple((c, r) for c in self.cases for r in self.rows if (c, r) in self.published or (c, r) in added)

    def setting(self, case: str, row: str) -> Setting:
        """Return the settings of a cell."""
        return self.overrides.get((case, row), self.settings[case])

    def data(self, folder: str | None) -> Examples:
        """Draw or read the sequences."""
        return permuted(folder) if self.mean else adding()

    def network(self, case: str, row: str) -> nn.Module:
        """Build hidden layers under a linear readout without memory."""
        setting, layers = self.setting(case, row), list[nn.Module]()
        *lower, last = setting.hidden
        if row == "lru":
            return self._linear_recurrent(lower[0], last)
        for inputs, units in pairwise((self.inputs, *lower)):
            loop = nn.Linear(units, units) if setting.recurrent else None
            layers.append(tt.Layer(nn.Linear(inputs, units), self._neuron(setting, row), recurrent=loop))
        layers.append(tt.Layer(nn.Linear(lower[-1], last), self._neuron(setting, row)))
        net = nn.Sequential(*layers, nn.Linear(last, 10))
        tt.set_rule(net, RULES[row])
        return net

    def _linear_recurrent(self, features: int, units: int) -> nn.Module:
        """Return linear recurrent units between two maps without memory."""
        unit = tt.LRU(units, r_min=0.99, r_max=0.9999, max_phase=self.max_phase)
        layer = tt.Layer(nn.Linear(features, 2 * units), unit, rule=RULES["lru"])
        head = nn.Linear(units, units), nn.GELU(), nn.Linear(units, 10)
        return nn.Sequential(nn.Linear(self.inputs, features), nn.ReLU(), layer, *head)

    @staticmethod
    def _neuron(setting: Setting, row: str) -> Neuron:
        return setting.neuron(gradient=row in ("bptt", "tbptt"))

    def outputs(self, net: nn.Module, x: Tensor, case: str, row: str) -> Tensor:
        """Run sequences, in windows for T-BPTT; return ``[B, classes]``."""
        windows = x.split(self.setting(case, row).window) if row == "tbptt" else (x,)
        if self.mean and row != "lru":
            return torch.cat([tt.scan(net, window) for window in windows]).mean(0)
        return [tt.scan(net, window, "last") for window in windows][-1]

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy."""
        return cross_entropy(outputs, y, label_smoothing=self.smoothing)

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the class of the largest output."""
        return outputs.argmax(-1)

    def rate(self, case: str, row: str, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        setting = self.setting(case, row)
        return setting.lr * setting.falls ** (epoch // 10)


def adding(count: int = 50_000, held_out: int = 2_000, *, steps: int = 100, marks: int = 9) -> Examples:
    """Draw Binary Adding: how many of the nine marked bits are ones? All ten answers equally often."""
    source = generator(0, "binary adding", steps, marks)
    total = count + held_out
    y = torch.arange(total) % (marks + 1)
    x = torch.zeros(total, steps, 2, dtype=torch.uint8)
    x[..., 0] = torch.rand(total, steps, generator=source) < 0.5
    places = torch.rand(total, steps, generator=source).argsort(1)[:, :marks]
    x[..., 0].scatter_(1, places, (torch.arange(marks) < y[:, None]).to(torch.uint8))
    x[..., 1].scatter_(1, places, 1)
    return Examples(x[:count], y[:count], x[count:], y[count:], batch=250)


def permuted(folder: str | None) -> Examples:
    """Read MNIST, one pixel a step in an order that is fixed, as a current between 0 and 1."""
    images = mnist(folder)
    order = torch.randperm(784, generator=generator(0, "permuted pixels", 784))
    x, x_test = (part.flatten(1)[:, order].unsqueeze(-1) for part in (images.x_train, images.x_test))
    return Examples(x, images.y_train, x_test, images.y_test, batch=256, scale=1 / 255)


def _published(forward: Mapping[str, float], recurrent: Mapping[str, float]) -> dict[tuple[str, str], float]:
    both = {"feed-forward": forward, "recurrent": recurrent}
    return {(case, row): value for case, rows in both.items() for row, value in rows.items()}


_ADDING = Setting(hidden=(128, 128), decay=0.98, width=0.4, lr=5e-4, recurrent=False, window=25)
_ADDING_RECURRENT = replace(_ADDING, decay=0.5, recurrent=True)
_MNIST = Setting(hidden=(64, 256, 256), decay=1.0, width=1.0, lr=5e-3, recurrent=False, window=196)

ADDING = SequenceTable(
    name="adding",
    title="Binary Adding, 100 steps",
    settings={"feed-forward": _ADDING, "recurrent": _ADDING_RECURRENT},
    published=_published(
        {"bptt": 32.4, "tbptt": 31.0, "ottt": 28.0, "sltt": 27.9},
        {"bptt": 59.3, "tbptt": 50.0, "eprop": 47.5, "sltt": 41.7},
    ),
    inputs=2,
    epochs=50,
    parts=1,
    mean=False,
    smoothing=0.2,
    max_phase=0.03,
    overrides={
        ("feed-forward", "bptt"): replace(_ADDING, falls=1.0),
        ("recurrent", "bptt"): replace(_ADDING_RECURRENT, falls=1.0),
    },
)

PSMNIST = SequenceTable(
    name="psmnist",
    title="Permuted sequential MNIST, 784 steps",
    settings={
        "feed-forward": _MNIST,
        "recurrent": replace(_MNIST, decay=0.5, width=0.6, lr=3e-3, recurrent=True),
    },
    published=_published(
        {"bptt": 57.5, "tbptt": 53.0, "ottt": 44.6, "sltt": 40.5},
        {"bptt": 73.0, "tbptt": 71.0, "eprop": 52.9, "sltt": 52.1},
    ),
    inputs=1,
    epochs=100,
    parts=10,
    mean=True,
    smoothing=0.0,
    max_phase=6.28,
    overrides={("feed-forward", "ottt"): replace(_MNIST, decay=0.8, width=0.6, lr=3e-3)},
)
