"""Rules of spike timing against sums over all pairs and triplets of spikes, written out, and one that is random."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from conformance.neurons import kind
from torch import Tensor

from tracetorch.rules import rtrl, uoro
from tracetorch.testing import oracle
from tracetorch.testing.conformance.case import Case, Finding, apart, judge, together
from tracetorch.testing.conformance.kind import Kind
from tracetorch.testing.conformance.plasticity import (
    PAIRS,
    pairs,
)
from tracetorch.testing.conformance.recurrence import ring
from tracetorch.testing.conformance.setup import MIXED, Setup, single
from tracetorch.testing.running import rule_gradients

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
