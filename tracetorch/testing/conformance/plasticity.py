"""Rules of spike timing against sums over all pairs and triplets of spikes, written out, and one that is random."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from tracetorch.rules import Rule, stdp, triplet_stdp
from tracetorch.testing import oracle
from tracetorch.testing.conformance.case import Case, Finding, equal, judge, together
from tracetorch.testing.conformance.kind import Kind
from tracetorch.testing.conformance.setup import STEPS, WAYS, Setup, single

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
