"""Learning signals that reach each layer by its own way: within its layer each is BPTT of what it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from tracetorch.direct import TargetProjection
from tracetorch.layer import Layer
from tracetorch.rules import drtrl
from tracetorch.testing import oracle
from tracetorch.testing.conformance.case import Case, Finding, apart
from tracetorch.testing.conformance.kind import SOFT, Kind
from tracetorch.testing.conformance.setup import OUTPUTS, STEPS, Quadratic
from tracetorch.testing.conformance.signals import (
    Targeted,
    _stack,
)
from tracetorch.testing.running import rule_gradients


def crossed(k: Kind) -> list[Finding]:
    """A layer that shares its unit with another signal has another gradient: the target is not the error."""
    net, xs = _stack(k, 2)
    projected = TargetProjection(net, OUTPUTS).double()
    targets = torch.eye(OUTPUTS).double()[torch.randint(OUTPUTS, (STEPS, xs.shape[1]))]
    loss = Quadratic(targets)
    got = rule_gradients(Targeted(projected), torch.cat([xs, targets], 2), loss, drtrl())
    error = got.values - targets
    first = net[0]
    assert isinstance(first, Layer)
    matrix = projected.matrices[0].detach()
    direct = oracle.bptt(first, xs, lambda z, t: (z * (error[t] @ matrix)).sum())
    below = {n: got.grads[f"net.net.0.{n}"] for n in direct.grads}
    return apart(below, direct.grads, list(direct.grads))


def cases() -> Iterator[Case]:
    """Yield the negative controls."""
    claim = "target projection is not direct feedback"
    yield Case(claim, "LIF soft", partial(crossed, SOFT), True)
