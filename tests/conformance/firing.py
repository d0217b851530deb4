"""Terms for firing rates: the final rate meets the time-mean of the eligibility, the running rate the present one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from conformance.neurons import kind
from torch import Tensor

from tracetorch.rules import Rule, bptt, drtrl, eprop, ottt, traced_bptt
from tracetorch.testing.conformance.case import Case, Finding, sensible
from tracetorch.testing.conformance.firing import (
    final_term,
    hidden,
    run_with,
    running_term,
    spikes_of,
)
from tracetorch.testing.conformance.kind import SOFT, Kind
from tracetorch.testing.conformance.setup import BATCH, STEPS
from tracetorch.testing.oracle import gradients_of


def alone(k: Kind, rule: Rule, splits: list[int], running: bool, whole: bool | None) -> list[Finding]:
    """The term alone, also where rows start again in the middle: all at once (`whole`), or some of them."""
    setup, at = hidden(k), sum(max(s, 1) for s in splits[:2])
    mask = torch.tensor([True, False, True])
    resets: dict[int, Tensor | None] = {} if whole is None else {at: None if whole else mask}
    got = run_with(setup, rule, splits, running=running, resets=resets, losses=False)
    total = torch.zeros((), dtype=torch.float64)
    for b in range(BATCH):
        again = whole is not None and (whole or bool(mask[b]))
        pieces = [setup.xs[:at], setup.xs[at:]] if again else [setup.xs]
        for piece in pieces if running else pieces[-1:]:
            _, zs = spikes_of(setup.net, piece[:, b : b + 1])
            total = total + (running_term(zs) if running else final_term(zs))
    return sensible(got, gradients_of(total, setup.net))


def splits_agree(k: Kind, rule: Rule, running: bool) -> list[Finding]:
    """The term is the same over single steps and windows, also where a presynaptic trace approximates."""
    setup = hidden(k)
    one, other = (
        run_with(setup, rule, splits, running=running, resets={}, losses=True)
        for splits in ([0] * STEPS, [4, 0, STEPS - 5])
    )
    return sensible(other, one)


def cases() -> Iterator[Case]:
    """Yield the cases of each rule that it goes with."""
    k = SOFT
    for running in (False, True):
        claim = "running rate = rate times eligibility" if running else "final rate = BPTT of the mean rate"
        for name in ("LIF soft, gradient", "ALIF, gradient", "SynapticLIF, gradient", "LIF per unit"):
            check = partial(splits_agree, kind(name), ottt(approximate=True), running)
            yield Case(claim, f"ottt, approximate where it must, {name}", check)
        for rule in (drtrl(), eprop(), ottt(), traced_bptt(), bptt()):
            splits = [4, 0, STEPS - 5]
            yield Case(claim, f"{rule}, alone", partial(alone, k, rule, splits, running, None))
            yield Case(claim, f"{rule}, after reset(net)", partial(alone, k, rule, splits, running, True))
            yield Case(claim, f"{rule}, after reset(mask)", partial(alone, k, rule, splits, running, False))
