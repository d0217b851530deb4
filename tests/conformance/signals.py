"""Learning signals that reach each layer by its own way: within its layer each is BPTT of what it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from tracetorch.direct import TargetProjection
from tracetorch.layer import Layer
from tracetorch.local import LocalReadouts
from tracetorch.rules import drtrl
from tracetorch.testing import oracle
from tracetorch.testing.agreement import Gradients
from tracetorch.testing.conformance.case import Case, Finding, apart, equal, together
from tracetorch.testing.conformance.kind import SOFT, Kind
from tracetorch.testing.conformance.setup import INPUTS, MIXED, OUTPUTS, STEPS, UNITS, Quadratic, build, layer, stream
from tracetorch.testing.oracle import Loss
from tracetorch.testing.running import rule_gradients

SPLITS = {"steps": [0] * STEPS, "windows": MIXED}


class Joined(nn.Module):
    """Put readouts side by side, `[B, layers * outputs]`."""

    def __init__(self, net: LocalReadouts) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one time step."""
        return torch.cat(self.net(x), 1)


class Targeted(nn.Module):
    """Take the target from the last numbers of the input, `[B, INPUTS + OUTPUTS]`."""

    def __init__(self, net: TargetProjection) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one time step."""
        out: Tensor = self.net((x[:, :INPUTS], x[:, INPUTS:]))
        return out


def _stack(k: Kind, depth: int) -> tuple[nn.Sequential, Tensor]:
    xs = stream(INPUTS)
    sizes = [INPUTS, *[UNITS] * (depth - 1), OUTPUTS]
    return build(*[layer(a, b, k.make) for a, b in pairwise(sizes)], xs=xs).net, xs


def _alone(net: nn.Sequential, xs: Tensor, losses: list[Loss]) -> list[Gradients]:
    """Return the gradients of layers one by one, each on what the one below puts out and with its own loss."""
    found: list[Gradients] = []
    for one, loss in zip(net, losses, strict=True):
        found.append(oracle.bptt(one, xs, loss))
        xs = found[-1].values
    return found


def _compared(got: Gradients, alone: list[Gradients], whole: Gradients) -> list[Finding]:
    """Judge that each layer has the gradient of its own loss, and those below the top not that of the last loss."""
    below = {n: got.grads[f"net.net.{n}"] for n in whole.grads}
    want = {f"{i}.{n}": g for i, one in enumerate(alone) for n, g in one.grads.items()}
    return together(equal(below, want), apart(below, whole.grads, ["0.synapse.weight", "1.synapse.weight"]))


def local(k: Kind, splits: list[int]) -> list[Finding]:
    """Each layer has the BPTT gradient of its own readout's loss; that of the losses' sum is another below the top."""
    net, xs = _stack(k, 3)
    readouts = LocalReadouts(net, OUTPUTS, xs[0])
    targets = torch.randn(STEPS, xs.shape[1], 3 * OUTPUTS).double()
    matrices = [m.detach() for m in readouts.matrices]
    losses: list[Loss] = [
        lambda z, t, i=i: 0.5 * ((z @ matrices[i].t() - targets.chunk(3, 2)[i][t]) ** 2).sum()  # type: ignore[misc]
        for i in range(3)
    ]
    got = rule_gradients(Joined(readouts), xs, Quadratic(targets), drtrl(), splits=splits)
    return _compared(got, _alone(net, xs, losses), oracle.bptt(net, xs, losses[2]))


def targeted(k: Kind, splits: list[int]) -> list[Finding]:
    """Each hidden layer has the BPTT gradient of its outputs times what it is sent, the last that of the loss."""
    net, xs = _stack(k, 3)
    projected = TargetProjection(net, OUTPUTS).double()
    targets = torch.eye(OUTPUTS).double()[torch.randint(OUTPUTS, (STEPS, xs.shape[1]))]
    sent = [targets @ m.detach() for m in projected.matrices]
    losses: list[Loss] = [lambda z, t, i=i: (z * sent[i][t]).sum() for i in range(2)]  # type: ignore[misc]
    loss = Quadratic(targets)
    told = torch.cat([xs, targets], 2)
    got = rule_gradients(Targeted(projected), told, loss, drtrl(), splits=splits)
    return _compared(got, _alone(net, xs, [*losses, loss]), oracle.bptt(net, xs, loss))


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of one neuron."""
    for told, splits in SPLITS.items():
        yield Case("local readouts = BPTT of each loss alone", f"{k.name}, {told}", partial(local, k, splits))
        yield Case("target projection = BPTT of what is sent", f"{k.name}, {told}", partial(targeted, k, splits))


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
