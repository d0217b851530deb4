"""The neurons of the table, with what a presynaptic trace can do for each."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.neurons import (
    ALIF,
    BRF,
    IF,
    LI,
    LIF,
    LRU,
    RTU,
    DiagonalRecurrent,
    HardReset,
    Learnable,
    Mean,
    MinGRU,
    Neuron,
    NoReset,
    Reset,
    SEAdLIF,
    SoftReset,
    SynapticLIF,
    surrogates,
)
from tracetorch.testing.conformance.kind import HARD, MEMORYLESS, SOFT, Factory, Kind


def spread(low: float, high: float, unit: tuple[int, ...]) -> Tensor:
    """Return values of the units' shape, evenly spread between two numbers and out of order."""
    values = torch.linspace(low, high, math.prod(unit))
    return values[torch.randperm(len(values), generator=torch.Generator().manual_seed(1))].reshape(unit)


PARAMETERS: dict[Callable[..., Neuron], dict[str, Callable[[tuple[int, ...]], dict[str, Any]]]] = {
    LIF: {
        "shared": lambda unit: {"half_life": Learnable(4.0), "threshold": Learnable(1.1)},
        "unit": lambda unit: {
            "tau": Learnable(spread(2.0, 9.0, unit)),
            "threshold": Learnable(spread(0.7, 1.3, unit)),
        },
        "unit threshold": lambda unit: {"beta": 0.8, "threshold": Learnable(1.0, shape=unit)},
        "fixed": lambda unit: {"beta": 0.8},
        "fixed unit": lambda unit: {"half_life": spread(2.0, 8.0, unit), "threshold": spread(0.7, 1.3, unit)},
    },
    ALIF: {
        "shared": lambda unit: {
            "half_life": Learnable(4.0),
            "adaptation_half_life": Learnable(7.0),
            "adaptation": Learnable(0.3),
            "threshold": Learnable(1.0),
        },
        "unit": lambda unit: {
            "half_life": Learnable(4.0, shape=unit),
            "adaptation_tau": Learnable(spread(4.0, 12.0, unit)),
            "adaptation": Learnable(spread(0.1, 0.5, unit)),
            "threshold": Learnable(spread(0.7, 1.3, unit)),
        },
        "fixed": lambda unit: {"beta": 0.85, "adaptation_beta": 0.92, "adaptation": spread(0.0, 0.5, unit)},
    },
    SynapticLIF: {
        "shared": lambda unit: {
            "half_life": Learnable(4.0),
            "synaptic_half_life": Learnable(2.0),
            "threshold": Learnable(1.0),
        },
        "unit": lambda unit: {
            "half_life": Learnable(spread(2.0, 7.0, unit)),
            "synaptic_beta": Learnable(spread(0.3, 0.8, unit)),
            "threshold": Learnable(1.0),
        },
        "fixed": lambda unit: {"tau": 5.0, "synaptic_tau": 2.0},
    },
    SEAdLIF: {
        "shared": lambda unit: {
            "tau": Learnable(4.0),
            "adaptation_tau": Learnable(9.0),
            "a": Learnable(2.0),
            "b": Learnable(5.0),
        },
        "unit": lambda unit: {
            "half_life": Learnable(spread(2.0, 7.0, unit)),
            "adaptation_half_life": Learnable(spread(4.0, 12.0, unit)),
            "a": Learnable(spread(0.5, 3.0, unit)),
            "b": Learnable(spread(2.0, 8.0, unit)),
            "threshold": Learnable(spread(0.7, 1.3, unit)),
        },
    },
    IF: {"shared": lambda unit: {"threshold": Learnable(1.2)}},
}
"""Parameters of each kind of neuron: learned and shared, learned per unit, or fixed."""


def neurons(
    kind: Callable[..., Neuron], reset: Reset | None = None, *, learn: str = "shared", **options: Any
) -> Factory:
    """Return what makes neurons of a kind, with parameters of the table."""
    return lambda unit: kind(reset=reset, **PARAMETERS[kind][learn](unit), **options)


lif, alif, synaptic = partial(neurons, LIF), partial(neurons, ALIF), partial(neurons, SynapticLIF)


adaptive, integrate = partial(neurons, SEAdLIF), partial(neurons, IF)


def balanced(unit: tuple[int, ...]) -> Neuron:
    """Give balanced resonators, in steps so long that their oscillation shows in a few of them."""
    return BRF(unit, omega=(2.0, 6.0), offset=(0.3, 1.5), dt=0.1, threshold=Learnable(1.0))


def diagonal(inner: Factory) -> Factory:
    """Give a neuron in the wrapper of diagonal recurrence."""

    def make(unit: tuple[int, ...]) -> Neuron:
        neuron = DiagonalRecurrent(inner(unit), unit)
        with torch.no_grad():
            neuron.r.copy_(spread(-0.6, 0.6, unit))
        return neuron

    return make


class Adaptive(Neuron):
    """Adapt by a second state variable: the example of a neuron of a user's own."""

    state = ("v", "a")
    beta: Tensor
    threshold: Tensor

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step."""
        v = self.beta * s.v + current
        z = self.surrogate(v - self.threshold - 0.3 * s.a)
        return s.replace(v=v - z * self.threshold, a=0.95 * s.a + z), z


class Resonator(Neuron):
    """Oscillate, count down after a spike, and learn a plain parameter: a user's neuron with all there is."""

    state = ("x", "y", "f")
    counters = ("rest",)
    beta: Tensor
    threshold: Tensor

    def __init__(self, unit: tuple[int, ...]) -> None:
        super().__init__(threshold=Learnable(1.0), beta=Learnable(spread(0.6, 0.9, unit)))
        self.turn = nn.Parameter(spread(0.2, 0.7, unit))
        self.pull = nn.Parameter(torch.tensor(0.4))

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step."""
        x = self.beta * (torch.cos(self.turn) * s.x - torch.sin(self.turn) * s.y) + current
        y = self.beta * (torch.sin(self.turn) * s.x + torch.cos(self.turn) * s.y)
        z = self.surrogate(x - self.threshold - self.pull * s.f) * (s.rest <= 0).to(x.dtype)
        rest = (s.rest - 1).clamp(min=0) + z.detach()
        return s.replace(x=x * (1 - 0.5 * z), y=y, f=0.8 * s.f + torch.tanh(x) * z, rest=rest), z


def _pairs(name: str, make: Callable[..., Factory], reset: type[SoftReset], **options: Any) -> list[Kind]:
    with_gradient = make(reset(gradient=True, **options))
    return [
        Kind(f"{name}", make(reset(**options)), "exact"),
        Kind(f"{name}, gradient", with_gradient, "detached", make(reset(**options))),
    ]


NEURONS: tuple[Kind, ...] = (
    Kind("LI", lambda unit: LI(half_life=Learnable(4.0)), "exact", spikes=False),
    Kind("LI normalized", lambda unit: LI(beta=Learnable(0.8), normalized=True), "exact", spikes=False),
    Kind("LI per unit", lambda unit: LI(tau=Learnable(spread(2.0, 9.0, unit))), spikes=False),
    Kind("Mean", lambda unit: Mean(), "exact", spikes=False),
    SOFT,
    Kind("LIF soft, gradient", lif(SoftReset(gradient=True)), "detached", SOFT.make),
    *_pairs("LIF soft not decayed", lif, SoftReset, decayed=False),
    HARD,
    Kind("LIF hard, gradient", lif(HardReset(value=0.1, gradient=True), surrogate=surrogates.FastSigmoid(2.0))),
    Kind("LIF hard not decayed", lif(HardReset(value=0.2, decayed=False))),
    Kind("LIF hard not decayed, gradient", lif(HardReset(decayed=False, gradient=True), normalized=True)),
    Kind("LIF no reset", lif(NoReset(), surrogate=surrogates.Sigmoid(3.0)), "exact"),
    Kind("LIF no reset not decayed, gradient", lif(NoReset(decayed=False, gradient=True)), "exact"),
    Kind("LIF normalized", lif(normalized=True, surrogate=surrogates.Triangle(0.8, 1.5)), "exact"),
    Kind("LIF normalized not decayed", lif(SoftReset(decayed=False), normalized=True), "exact"),
    Kind("LIF refractory", lif(refractory=2, surrogate=surrogates.StraightThrough(0.7, 8.0)), "exact"),
    Kind("LIF refractory hard, gradient", lif(HardReset(gradient=True), refractory=1)),
    Kind("LIF per unit", lif(learn="unit")),
    Kind("LIF per unit, gradient", lif(SoftReset(gradient=True), learn="unit", normalized=True)),
    Kind("LIF thresholds per unit", lif(learn="unit threshold"), "exact"),
    Kind("LIF fixed", lif(learn="fixed"), "exact"),
    Kind("LIF fixed per unit", lif(learn="fixed unit")),
    Kind("ALIF", alif()),
    Kind("ALIF, gradient", alif(SoftReset(gradient=True))),
    Kind("ALIF hard not decayed", alif(HardReset(decayed=False), normalized=True)),
    Kind("ALIF hard, gradient", alif(HardReset(value=0.1, gradient=True), surrogate=surrogates.Sigmoid(3.0))),
    Kind("ALIF refractory not decayed", alif(SoftReset(decayed=False), refractory=2)),
    Kind("ALIF per unit", alif(learn="unit", surrogate=surrogates.Triangle(0.8, 2.0))),
    Kind("ALIF fixed", alif(learn="fixed")),
    *_pairs("SynapticLIF", synaptic, SoftReset),
    *_pairs("SynapticLIF not decayed", synaptic, SoftReset, decayed=False),
    Kind("SynapticLIF hard, gradient", synaptic(HardReset(gradient=True))),
    Kind("SynapticLIF normalized refractory", synaptic(normalized=True, refractory=1), "exact"),
    Kind("SynapticLIF no reset", synaptic(NoReset(), learn="fixed"), "exact"),
    Kind("SynapticLIF per unit", synaptic(learn="unit", normalized=True)),
    *_pairs("IF", integrate, SoftReset),
    Kind("IF hard", integrate(HardReset())),
    Kind("IF refractory", integrate(refractory=2), "exact"),
    Kind("DiagonalRecurrent LIF", diagonal(lif())),
    Kind("DiagonalRecurrent LIF hard, gradient", diagonal(lif(HardReset(gradient=True), learn="unit"))),
    Kind("DiagonalRecurrent LIF refractory", diagonal(lif(refractory=1, normalized=True))),
    Kind("DiagonalRecurrent ALIF", diagonal(alif())),
    Kind("DiagonalRecurrent SynapticLIF", diagonal(synaptic(SoftReset(gradient=True)))),
    Kind("DiagonalRecurrent Adaptive", diagonal(lambda unit: Adaptive(half_life=Learnable(4.0)))),
    Kind("SEAdLIF", adaptive()),
    Kind("SEAdLIF per unit, soft, gradient", adaptive(SoftReset(gradient=True), learn="unit", refractory=1)),
    Kind("BRF", balanced),
    Kind("Adaptive (a user's)", lambda unit: Adaptive(half_life=Learnable(4.0), threshold=Learnable(1.0))),
    Kind("Resonator (a user's)", Resonator),
    MEMORYLESS,
)
"""The neurons of the table."""
SEVERAL: tuple[Kind, ...] = (
    Kind("LRU", lambda unit: LRU(unit)),
    Kind("LRU on a narrow ring", lambda unit: LRU(unit, r_min=0.9, r_max=0.99, max_phase=0.5)),
    Kind("RTU", lambda unit: RTU(unit)),
    Kind("MinGRU", lambda unit: MinGRU()),
)
"""Those that take several currents per unit."""

TRIED: dict[str, tuple[str, ...]] = {
    "linearity": ("LIF hard, gradient", "ALIF refractory not decayed", "SynapticLIF normalized refractory"),
    "firing": (
        "LIF soft",
        "LIF hard, gradient",
        "LIF refractory",
        "ALIF",
        "SynapticLIF per unit",
        "DiagonalRecurrent LIF",
        "Resonator (a user's)",
    ),
    "unrolled": ("LIF hard, gradient", "SynapticLIF per unit", "ALIF per unit", "Resonator (a user's)"),
    "signals": ("LIF soft", "ALIF, gradient", "Resonator (a user's)"),
    "depth": (
        "LIF soft",
        "LIF hard, gradient",
        "ALIF, gradient",
        "SynapticLIF",
        "LIF per unit",
        "Resonator (a user's)",
    ),
    "cascade": (
        "LIF soft",
        "LIF hard, gradient",
        "ALIF, gradient",
        "SynapticLIF",
        "LIF per unit",
        "Resonator (a user's)",
    ),
    "recurrence": (
        "LIF soft",
        "LIF hard, gradient",
        "LIF per unit",
        "LIF refractory",
        "ALIF, gradient",
        "SynapticLIF",
        "IF",
        "DiagonalRecurrent LIF",
        "Adaptive (a user's)",
        "Resonator (a user's)",
    ),
    "plasticity": ("LIF soft", "LIF hard, gradient", "ALIF", "SynapticLIF", "Resonator (a user's)"),
    "moving": (
        "LI per unit",
        "LIF soft",
        "LIF hard, gradient",
        "LIF soft not decayed",
        "ALIF",
        "SynapticLIF",
        "DiagonalRecurrent LIF",
        "Resonator (a user's)",
    ),
}
"""The neurons of the table with which the rows of a part are tried, where not with all of them."""


def kind(name: str) -> Kind:
    """Return the neuron of the table with the given name."""
    return next(k for k in (*NEURONS, *SEVERAL) if k.name == name)
