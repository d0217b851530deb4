"""One layer: full eligibility is BPTT, the presynaptic trace where it can be, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from conformance.neurons import kind

from tracetorch.rules import drtrl, eprop
from tracetorch.testing.conformance.case import Case, Finding, equal
from tracetorch.testing.conformance.kind import Kind
from tracetorch.testing.conformance.one_layer import (
    full,
    one_event,
)
from tracetorch.testing.conformance.setup import STEPS, single
from tracetorch.testing.oracle import bptt as backpropagate
from tracetorch.testing.running import rule_gradients


def single_precision(k: Kind) -> list[Finding]:
    """In single precision, eligibility over a long window stays at rounding error."""
    setup = single(k.make)
    net, xs = setup.net.float(), setup.xs.float()

    def loss(ys: torch.Tensor, steps: slice) -> torch.Tensor:
        return setup.loss(ys.double(), steps)

    want = backpropagate(net, xs, loss)
    got = rule_gradients(net, xs, loss, drtrl(), splits=[STEPS - 2, 0, 1])
    return [replace(f, high=1e-5) for f in equal(got.grads, want.grads)]


def cases() -> Iterator[Case]:
    """Yield the cases of one layer that belong to no single neuron."""
    for name in ("LIF soft", "LIF hard, gradient", "ALIF", "SynapticLIF"):
        k = kind(name)
        yield Case("full = BPTT", f"no bias, {name}", partial(full, k, drtrl(), [3, 0, STEPS - 4], False))
        yield Case("full = BPTT", f"single precision, {name}", partial(single_precision, k))
        for splits in ([1, 1, 12], [7, 7], [14], [2, 3, 9], [13, 1]):
            check = partial(one_event, k, eprop(), splits)
            yield Case("full = BPTT", f"chunks {splits} without loss, {name}", check)
