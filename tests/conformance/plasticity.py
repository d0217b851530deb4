"""Rules of spike timing against sums over all pairs and triplets of spikes, written out, and one that is random."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from conformance.networks import WAYS
from conformance.neurons import kind
from torch import Tensor

from tracetorch.rules import Rule, rtrl, stdp, triplet_stdp, uoro
from tracetorch.testing import oracle
from tracetorch.testing.conformance.case import Case, Finding, apart, equal, judge, together
from tracetorch.testing.conformance.kind import Kind
from tracetorch.testing.conformance.recurrence import ring
from tracetorch.testing.conformance.setup import MIXED, STEPS, Setup, single
from tracetorch.testing.running import rule_gradients

PAIRS = stdp(tau_plus=4.0, tau_minus=6.0, a_plus=0.9, a_minus=0.7)
TAU, PAIR, TRIPLET = (4.0, 6.0, 3.0, 5.0), (0.9, 0.7), (0.6, 0.4)


def _signals(setup: Setup) -> Tensor:
    """Return the cotangents of the outputs of one layer, `[T, B, units]`."""
    ys = oracle.run(setup.net, setup.xs).detach().requires_grad_()
    return torch.autograd.grad(setup.loss(ys, slice(0, STEPS)), ys)[0]


def pairs(setup: Setup, *, reverse: bool = False) -> Tensor:
    """Return what all pairs of an input at step s and an output at step t give the weights, times the signal."""
    bars = _signals(setup)
    with torch.no_grad():
        zs = oracle.run(setup.net, setup.xs)
    total = torch.zeros(zs.shape[2], setup.xs.shape[2]).to(zs)
    for t in range(STEPS):
        for s in range(STEPS):
            ago = s - t if reverse else t - s
            size = 0.9 * math.exp(-ago / 4.0) if ago >= 0 else -0.7 * math.exp(ago / 6.0)
            total += size * torch.einsum("bu,bu,bk->uk", bars[max(s, t)], zs[t], setup.xs[s])
    return total


def triplets(setup: Setup) -> Tensor:
    """Return what all pairs and triplets of spikes give the weights, times the signal."""
    (plus, minus, x, y), bars = TAU, _signals(setup)
    with torch.no_grad():
        zs = oracle.run(setup.net, setup.xs)
    total = torch.zeros(zs.shape[2], setup.xs.shape[2]).to(zs)
    for t in range(STEPS):  # the time of the change
        for s in range(t + 1):
            size = PAIR[0] + sum(TRIPLET[0] * math.exp(-(t - r) / y) * zs[r] for r in range(t))
            total += math.exp(-(t - s) / plus) * torch.einsum("bu,bu,bk->uk", bars[t], size * zs[t], setup.xs[s])
        for s in range(t):
            size = PAIR[1] + sum(TRIPLET[1] * math.exp(-(t - r) / x) * setup.xs[r] for r in range(t))
            total -= math.exp(-(t - s) / minus) * torch.einsum("bu,bu,bk->uk", bars[t], zs[s], size * setup.xs[t])
    return total


def timed(k: Kind, rule: Rule, splits: list[int]) -> list[Finding]:
    """The weights have their sums; the bias and the neuron's parameters nothing; none of it is BPTT."""
    setup = single(k.make)
    want = {"0.synapse.weight": pairs(setup) if rule.name == "stdp" else triplets(setup)}
    got = setup.run(rule, splits)
    rest = [Finding(f"{n} learns nothing", float(g.norm())) for n, g in got.grads.items() if n not in want]
    return together(judge(got, setup.bptt(), exact=(), differ=list(want)), equal(got.grads, want), rest)


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of one neuron."""
    for told, splits in WAYS.items():
        yield Case("stdp = its sum over pairs", f"stdp, {k.name}, {told}", partial(timed, k, PAIRS, splits))
        rule = triplet_stdp(tau=TAU, pair=PAIR, triplet=TRIPLET)
        yield Case("stdp = its sum over pairs", f"triplet_stdp, {k.name}, {told}", partial(timed, k, rule, splits))


DRAWS, ROWS = 24, 64


def reversed_order(k: Kind) -> list[Finding]:
    """The other order of the same spikes is another change."""
    setup = single(k.make)
    return apart(setup.run(PAIRS).grads, {"0.synapse.weight": pairs(setup, reverse=True)}, ["0.synapse.weight"])


def _repeated(setup: Setup, draws: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return mean and standard error of the gradients of many copies of each row, and rule."""
    rule, xs = uoro(), setup.xs.repeat(1, ROWS, 1)
    with torch.no_grad():
        target = oracle.run(setup.net, setup.xs)
    found: dict[str, list[Tensor]] = {}
    for _ in range(draws):
        grads = rule_gradients(setup.net, xs, _Repeated(setup, target), rule, splits=MIXED).grads
        for name, g in grads.items():
            found.setdefault(name, []).append(g / ROWS)
    stacked = {name: torch.stack(values) for name, values in found.items()}
    error = {name: v.std(0) / draws**0.5 for name, v in stacked.items()}
    return {name: v.mean(0) for name, v in stacked.items()}, error


def _norm(values: Mapping[str, Tensor]) -> Tensor:
    total: Tensor = torch.cat([v.flatten() for v in values.values()]).norm()
    return total


class _Repeated:
    """A loss of rows, added up over copies of them."""

    def __init__(self, setup: Setup, like: Tensor) -> None:
        self.setup, self.rows = setup, like.shape[1]

    def __call__(self, ys: Tensor, steps: slice) -> Tensor:
        return torch.stack([self.setup.loss(part, steps) for part in ys.split(self.rows, 1)]).sum()


def unbiased(k: Kind, to: bool) -> list[Finding]:
    """The mean over many draws is RTRL to its standard error, and one draw is not RTRL."""
    setup = ring(k, to=to)
    want = setup.run(rtrl(), MIXED)
    mean, error = _repeated(setup, DRAWS)
    found, scores = [], []
    for name, exact in want.grads.items():
        random = error[name] > 1e-9 * exact.abs().max()
        scores.append(((mean[name] - exact) / error[name])[random])
        agree = float((mean[name] - exact)[~random].abs().max()) if bool((~random).any()) else 0.0
        found.append(Finding(f"{name}: where nothing is random", agree, 0.0, 1e-9))
    z = torch.cat(scores).square()
    small = float(_norm(error) / _norm(want.grads))
    found += [
        Finding("random entries", len(z), 40, 1e6),
        Finding("mean squared distance in standard errors", float(z.mean()), 0.2, 2.5),
        Finding("standard error", small, 1e-9, 0.3),
    ]
    one = setup.run(uoro(seed=5), MIXED)
    names = [n for n in want.grads if n.startswith("0.") and "weight" in n]
    return together(found, apart(one.grads, want.grads, names))


def whole(k: Kind) -> list[Finding]:
    """Within one window from a reset nothing is drawn: UORO is BPTT."""
    setup = ring(k)
    return judge(setup.run(uoro()), setup.bptt())


def cases() -> Iterator[Case]:
    """Yield the cases of UORO, and the negative controls."""
    for name in ("LIF soft", "ALIF"):
        yield Case("stdp is not stdp backwards", f"stdp, {name}", partial(reversed_order, kind(name)), True)
    for name in ("LIF soft", "LIF hard, gradient", "ALIF, gradient"):
        yield Case("uoro = BPTT within a window", f"uoro, {name}", partial(whole, kind(name)))
    for name, to in (("LIF soft", False), ("ALIF, gradient", False), ("LIF soft", True)):
        told = f"uoro, {name}{' to LI' if to else ''}"
        yield Case("uoro in the mean = rtrl, one draw is not", told, partial(unbiased, kind(name), to))
