"""The networks on which every rule is tried: dense, recurrent, convolutional, per unit, a user's own, no chain."""

from __future__ import annotations

from collections.abc import Callable

import torch
from conformance.depth import Residual
from conformance.neurons import diagonal, kind, lif
from torch import nn

from tracetorch import rules
from tracetorch.feedback import RandomFeedback, SignSymmetric, Symmetric
from tracetorch.layer import Layer
from tracetorch.neurons import LI, Mean
from tracetorch.rules import ReadoutMemory, Rule
from tracetorch.synapses import LinearInWeights
from tracetorch.testing.conformance.kind import HARD, SOFT
from tracetorch.testing.conformance.setup import (
    INPUTS,
    MIXED,
    STEPS,
    UNITS,
    Beside,
    Setup,
    build,
    layer,
    readout,
    stream,
)

WAYS = {"steps": [0] * STEPS, "scan": [STEPS], "windows": MIXED}
"""Windows of all steps by name; 0 is one step through `net(x)`."""

STEPWISE: dict[str, Rule] = {
    "sltt": rules.sltt(),
    "ottt": rules.ottt(approximate=True),
    "eprop": rules.eprop(),
    "eprop(0.6)": rules.eprop(kappa=0.6),
    "drtrl": rules.drtrl(),
    "cascade": rules.cascade(),
    "cascade, all pairs": rules.cascade(pairs=4 * STEPS),
    "drtrl(gain)": rules.drtrl(input="gain"),
    "otpe(0.6)": rules.otpe(kappa=0.6),
    "pp_prop": rules.pp_prop(decay=0.8),
    "ostl": rules.ostl(),
    "rtrl(0.6)": rules.rtrl(kappa=0.6),
    "snap1": rules.snap1(),
    "s_tllr": rules.s_tllr(),
    "stdp": rules.stdp(tau_plus=5.0, tau_minus=4.0),
    "triplet_stdp": rules.triplet_stdp(tau=(5.0, 4.0, 3.0, 6.0), pair=(0.5, 0.8), triplet=(0.6, 0.3)),
    "trace": rules.trace(),
    "trace(0.6)": rules.trace(decay=0.6),
}
"""Rules that credit step by step; the presynaptic trace approximates where it must."""
RANDOM: dict[str, Rule] = {
    "sltt, random": rules.sltt(feedback=RandomFeedback()),
    "ottt, random": rules.ottt(approximate=True, feedback=RandomFeedback()),
    "eprop, random": rules.eprop(feedback=RandomFeedback()),
    "drtrl(gain), random": rules.drtrl(input="gain", feedback=RandomFeedback()),
    "eprop, signs": rules.eprop(feedback=SignSymmetric()),
    "rflo": rules.rflo(),
    "cascade, random": rules.cascade(feedback=RandomFeedback()),
    "trace, random": rules.trace(feedback=RandomFeedback(0.7)),
}
"""The same with a fixed random feedback."""
WINDOWED: dict[str, Rule] = {"bptt": rules.bptt(), "tbptt": rules.tbptt(), "traced_bptt": rules.traced_bptt()}
"""Rules with autograd inside a window."""
WHOLE: dict[str, Rule] = {"rate": rules.rate()}
"""Rules that want the sequence in one scan."""
RULES: dict[str, Rule] = {**STEPWISE, **RANDOM, **WINDOWED, **WHOLE}
"""Every rule."""
RECURRENT = "recurrent SynapticLIF, LIF"
"""The network with dense recurrence in both hidden layers."""
HOPS: dict[str, Rule] = {
    "eprop, two hops": rules.eprop(hops=2),
    "cascade, two hops": rules.cascade(hops=2),
    "cascade, a hop, all pairs": rules.cascade(hops=1, pairs=4 * STEPS),
}
"""Rules that credit paths through recurrent spikes, on it."""


class Weighted(nn.Module):
    """Mix two views of the input, linear in both weights: a user's own synapse."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(units, inputs) / inputs**0.5)
        self.b = nn.Parameter(torch.randn(units))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the current; squares of the input are allowed, squares of a weight are not."""
        return x @ self.a.T + self.b * (x**2).mean(-1, keepdim=True)


def conv2d() -> list[nn.Module]:
    """Return two convolutions with stride, padding, dilation and groups, and a readout of the flat maps."""
    first = nn.Conv2d(2, 4, 3, stride=(2, 1), padding=1, groups=2)
    second = nn.Conv2d(4, 3, (2, 3), padding=(1, 0), dilation=(2, 1), bias=False)
    return [
        Layer(first, SOFT.make((4, 3, 4)), rule=rules.sltt()),
        Layer(second, kind("ALIF per unit").make((3, 3, 2)), rule=rules.sltt()),
        nn.Flatten(),
        readout(18),
    ]


def conv1d() -> list[nn.Module]:
    """Return two convolutions in one dimension; the second neuron learns values per channel."""
    first = nn.Conv1d(2, 4, 3, stride=2, padding=2, dilation=2)
    second = nn.Conv1d(4, 4, 2, groups=4)
    return [
        Layer(first, kind("SynapticLIF, gradient").make((4, 4)), rule=rules.sltt()),
        Layer(second, lif(learn="unit")((4, 1)), rule=rules.sltt()),
        nn.Flatten(),
        readout(12),
    ]


def up_and_down() -> list[nn.Module]:
    """Return a transposed convolution, a convolution over volumes, and a readout."""
    first = nn.ConvTranspose3d(2, 4, (1, 2, 2), stride=(1, 2, 1), groups=2)
    second = nn.Conv3d(4, 3, (1, 2, 2), stride=(1, 2, 1), padding=(0, 1, 0))
    return [
        Layer(first, SOFT.make((4, 2, 4, 3)), rule=rules.sltt()),
        Layer(second, kind("ALIF per unit").make((3, 2, 3, 2)), rule=rules.sltt()),
        nn.Flatten(),
        readout(36),
    ]


def _dense(*names: str, recurrent: float = 0.0) -> list[nn.Module]:
    sizes = (INPUTS, UNITS + 1, UNITS)
    hidden: list[nn.Module] = [
        layer(sizes[i], sizes[i + 1], kind(n).make, recurrent=recurrent) for i, n in enumerate(names)
    ]
    return [*hidden, readout(sizes[len(names)])]


NETWORKS: dict[str, Callable[[], list[nn.Module]]] = {
    "LIF": lambda: _dense("LIF soft"),
    "hard ALIF, LIF per unit": lambda: _dense("ALIF hard, gradient", "LIF per unit"),
    "recurrent SynapticLIF, LIF": lambda: _dense("SynapticLIF", "LIF refractory", recurrent=1.0),
    "diagonal LIF, a user's": lambda: [
        layer(INPUTS, UNITS, diagonal(lif(learn="unit"))),
        layer(UNITS, UNITS, kind("Resonator (a user's)").make),
        readout(),
    ],
    "modules between": lambda: [
        layer(INPUTS, UNITS, SOFT.make),
        nn.Linear(UNITS, UNITS),
        nn.LayerNorm(UNITS),
        nn.Sequential(layer(UNITS, UNITS, HARD.make, bias=False), nn.Identity()),
        readout(neuron=LI(beta=0.7, normalized=True)),
    ],
    "Conv2d": conv2d,
    "Conv1d": conv1d,
    "ConvTranspose3d, Conv3d": up_and_down,
    "a user's synapse": lambda: [
        Layer(LinearInWeights(Weighted(INPUTS, UNITS)), SOFT.make((UNITS,)), rule=rules.sltt()),
        Layer(LinearInWeights(Weighted(UNITS, UNITS)), kind("ALIF").make((UNITS,)), rule=rules.sltt()),
        readout(),
    ],
    "Mean": lambda: [layer(INPUTS, UNITS, kind("IF").make), readout(neuron=Mean())],
    "spikes out": lambda: [layer(INPUTS, UNITS, SOFT.make), layer(UNITS, UNITS, kind("ALIF").make)],
    "two heads": lambda: [
        layer(INPUTS, UNITS + 1, kind("ALIF").make),
        layer(UNITS + 1, UNITS, kind("LIF per unit").make),
        Beside(readout(outputs=2), readout(outputs=3, neuron=LI(beta=0.6))),
    ],
    "residual": lambda: [
        layer(INPUTS, UNITS, SOFT.make),
        Residual(layer(UNITS, UNITS, kind("ALIF").make)),
        readout(),
    ],
}
"""What makes the modules of networks, by name."""
SHAPES = {"Conv2d": (2, 5, 4), "Conv1d": (2, 8), "ConvTranspose3d, Conv3d": (2, 2, 2, 2)}
"""Shapes of the inputs that are no vectors."""


def network(name: str, *, steps: int = STEPS) -> Setup:
    """Return one of the networks on a stream."""
    xs = stream(*SHAPES.get(name, (INPUTS,)), steps=steps)
    return build(*NETWORKS[name](), xs=xs)


def refuses(name: str, rule: Rule) -> bool:
    """Whether a rule refuses a network: random feedback a user's synapse, a readout's filter a layer that feeds two."""
    filters = isinstance(rule.above, ReadoutMemory) and rule.above.needs_network
    fed_twice = (filters and name in ("residual", "two heads")) or (rule.derives and name == "two heads")
    return fed_twice or (not isinstance(rule.feedback, Symmetric) and name == "a user's synapse")
