"""The readable forms of a walk through a window, which all kernels are held against, and cases that exercise them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

import tracetorch as tt
from tracetorch.ops import decayed_sums, linear_scan, reverse_filter
from tracetorch.ops.walked import Forward, Reverse
from tracetorch.traces.backward import pull

F64 = torch.float64
Q, KAPPA = 0.9, 0.7


def _per_unit(units: int) -> Tensor:
    return torch.linspace(0.6, 0.95, units, dtype=F64)


def neuron(name: str, units: int) -> tt.Neuron:
    s = tt.surrogates
    rows = {
        "lif": lambda: tt.LIF(half_life=5.0),
        "lif per unit": lambda: tt.LIF(beta=_per_unit(units), threshold=_per_unit(units)),
        "lif gradient": lambda: tt.LIF(
            half_life=5.0, reset=tt.SoftReset(gradient=True, decayed=False), normalized=True
        ),
        "lif hard": lambda: tt.LIF(half_life=5.0, reset=tt.HardReset(gradient=True, value=0.1), refractory=2),
        "lif none": lambda: tt.LIF(half_life=5.0, reset=tt.NoReset(), surrogate=s.Triangle(0.3, 1.7)),
        "synaptic": lambda: tt.SynapticLIF(
            half_life=5.0,
            synaptic_beta=_per_unit(units),
            reset=tt.SoftReset(gradient=True),
            surrogate=s.FastSigmoid(3.0),
            refractory=1,
        ),
        "alif": lambda: tt.ALIF(
            half_life=5.0,
            adaptation_half_life=20.0,
            adaptation=0.3,
            reset=tt.HardReset(gradient=True, value=0.1, decayed=False),
            surrogate=s.Sigmoid(4.0),
        ),
        "if": lambda: tt.IF(surrogate=s.StraightThrough(0.3, 0.7)),
        "li": lambda: tt.LI(half_life=5.0, normalized=True),
    }
    return rows[name]()


NAMES = ["lif", "lif per unit", "lif gradient", "lif hard", "lif none", "synaptic", "alif", "if", "li"]


class Case(NamedTuple):
    neuron: tt.Neuron
    current: Tensor
    s: tuple[Tensor, ...]
    sigma: Tensor
    h: Tensor
    signal: Tensor
    lam: Tensor
    leaving: Tensor

    @property
    def params(self) -> list[Tensor]:
        return [getattr(self.neuron, n) for n in self.neuron.scalar().parameters]

    @property
    def size(self) -> int:
        return len(self.neuron.state)


def case(name: str, steps: int, batch: int, units: int, dtype: torch.dtype = F64, device: str = "cpu") -> Case:
    torch.manual_seed(0)
    found = neuron(name, units)
    size, counters = len(found.state), len(found.counters)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=F64).to(device, dtype)

    return Case(
        found.to(device, dtype),
        draw(steps, batch, units),
        (*(draw(batch, units) for _ in range(size)), *(draw(batch, units) * 0 for _ in range(counters))),
        draw(size, batch, units),
        draw(batch, units),
        draw(steps, batch, units),
        draw(size, batch, units),
        draw(batch, units),
    )


class Expected(NamedTuple):
    forward: Forward
    reverse: Reverse
    unlinked: Tensor
    last: Reverse


def expected(c: Case) -> Expected:
    """The readable forms, step by step."""
    steps, empty = c.current.shape[0], c.current.new_empty(0)
    s, seen, z = c.s, [], []
    for current in c.current:
        seen.append(s)
        after, out = c.neuron.step(c.neuron.pack(s), current)
        s = tuple(after)
        z.append(out)
    before = tuple(torch.stack(x) for x in zip(*seen, strict=True))
    b = c.neuron.blocks(before, c.current, {})
    held, sigma = linear_scan(b.A, b.B, list(c.sigma), steps, rank=3)
    gain = torch.as_tensor(b.psi) + sum(d * x for d, x in zip(b.D, held, strict=True) if d is not None)
    history = decayed_sums(gain.expand_as(c.current), Q, c.h)
    last = torch.stack([x.expand_as(c.h) for x in sigma])
    forward = Forward(torch.stack(z), s, before, c.current, last, history[-1], history, empty, True)

    def back(signal: Tensor) -> Reverse:
        level, leaving = reverse_filter(signal, KAPPA, c.leaving)
        p = pull(b, level, list(c.lam), steps, rank=3)
        return Reverse(p.drive, torch.stack(list(p.states)), level, torch.stack(list(p.start)), leaving, b.psi * signal)

    alone = torch.cat([torch.zeros_like(c.signal[1:]), c.signal[-1:]])
    return Expected(forward, back(c.signal), b.psi * c.signal, back(alone))


def compare(found: Tensor | tuple[Tensor, ...], want: Tensor | tuple[Tensor, ...], what: str, error: float) -> None:
    if isinstance(want, tuple):
        assert len(found) == len(want), what
        for f, w in zip(found, want, strict=True):
            compare(f, w, what, error)
        return
    assert found.shape == want.shape, what
    scale = want.abs().max().clamp(min=1.0)
    difference = ((found - want).abs().max() / scale).item()
    assert difference <= error, f"{what}: relative error {difference}"  # NaN, as of memory never written, fails


def check(kernels: Any, c: Case, error: float) -> None:
    """Hold kernels, forward and reverse, against the readable forms."""
    want, scalar = expected(c), c.neuron.scalar()
    # Memory that no kernel writes must show.
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        plain = kernels.run_forward(scalar, c.current, None, s=c.s, params=c.params, record=False)
        traced = (c.sigma, c.h, Q)
        full = kernels.run_forward(
            scalar, c.current, None, s=c.s, params=c.params, record=True, states=True, traced=traced, history=True
        )
        short = kernels.run_forward(scalar, c.current, None, s=c.s, params=c.params, record=False, traced=traced)
        common = {"s": c.s, "drive": c.current, "params": c.params}
        carry, nothing = (c.lam, c.leaving, KAPPA), (c.lam * 0, c.leaving * 0, 0.0)
        back = kernels.run_reverse(scalar, **common, signal=c.signal, carry=carry, history=True, sent=True)
        alone = kernels.run_reverse(scalar, **common, signal=c.signal[-1:], carry=carry, sent=True)
        cut = kernels.run_reverse(scalar, **common, signal=c.signal, carry=nothing, linked=False)
    finally:
        torch.use_deterministic_algorithms(deterministic)
    for name in ("z", "last", "before", "drive", "sigma", "h", "history"):
        compare(getattr(full, name), getattr(want.forward, name), name, error)
    for name in ("z", "last"):
        compare(getattr(plain, name), getattr(want.forward, name), f"plain {name}", error)
    for name in ("z", "last", "sigma", "h"):
        compare(getattr(short, name), getattr(want.forward, name), f"short {name}", error)
    for name in ("drive", "states", "signal", "start", "leaving", "below"):
        compare(getattr(back, name), getattr(want.reverse, name), f"reverse {name}", error)
    for name in ("drive", "start", "leaving"):
        compare(getattr(alone, name), getattr(want.last, name), f"last alone {name}", error)
    compare(alone.below, want.reverse.below[-1:], "last alone below", error)
    compare(cut.drive, want.unlinked, "unlinked drive", error)
    compare(cut.start, c.lam * 0, "unlinked start", error)
    assert plain.before == ()
    assert {plain.drive.numel(), plain.sigma.numel(), plain.history.numel(), alone.states.numel()} == {0}
