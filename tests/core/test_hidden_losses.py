"""Losses on hidden outputs, as of firing rates, under cascade: BPTT where it is exact, however the network is run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt

STEPS, BATCH = 18, 3
Loss = Callable[[Tensor, Tensor, slice], Tensor]


def lif(inputs: int, units: int, half_life: float = 4.0, **options: Any) -> tt.Layer:
    layer = tt.Layer(nn.Linear(inputs, units), tt.LIF(half_life=half_life, **options))
    nn.init.normal_(layer.synapse.weight, 0.15, 0.6)
    return layer


class Net(nn.Module):
    """Two layers under a head without memory: cascade is exact, and so it is for what comes past the upper one."""

    def __init__(self, between: Callable[[], nn.Module] = nn.Identity) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.between, self.b, self.head = lif(6, 9), between(), lif(9, 8), nn.Linear(8, 2)
        self.h: list[Tensor] = []
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        self.h.append(h)
        y: Tensor = self.head(self.b(self.between(h)))
        return y


class Given(Net):
    """The same, whose hidden outputs are returned."""

    def forward(self, x: Tensor) -> Any:
        h = self.a(x)
        return self.head(self.b(self.between(h))), h


class Hooked(Net):
    """The same as nn.Sequential, whose hidden outputs are taken by a hook."""

    def __init__(self, between: Callable[[], nn.Module] = nn.Identity) -> None:
        super().__init__(between)
        self.chain = nn.Sequential(self.a, self.between, self.b, self.head)
        self.a.register_forward_hook(lambda _, __, z: self.h.append(z))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.chain(x)
        return y


def stream() -> Tensor:
    return (torch.rand(STEPS, BATCH, 6, generator=torch.Generator().manual_seed(1)) < 0.4).double()


def loss(ys: Tensor, hs: Tensor, at: slice) -> Tensor:
    target = torch.linspace(-1, 1, STEPS * BATCH * 2, dtype=torch.float64).sin().reshape(STEPS, BATCH, 2)
    weight = torch.linspace(0, 9, STEPS * BATCH * 9, dtype=torch.float64).cos().reshape(STEPS, BATCH, 9)
    return (ys - target[at]).square().sum() + (hs * weight[at]).sum() + (hs.mean() - 0.1).square()


def windows(sizes: list[int]) -> Iterator[slice]:
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size


def steps(net: Net, xs: Tensor) -> Iterator[Tensor]:
    for t, x in enumerate(xs):
        net.h.clear()
        y = net(x)
        y, h = y if isinstance(y, tuple) else (y, net.h[0])
        yield loss(y.unsqueeze(0), h.unsqueeze(0), slice(t, t + 1))


def scans(sizes: list[int]) -> Callable[[Net, Tensor], Iterator[Tensor]]:
    def run(net: Net, xs: Tensor) -> Iterator[Tensor]:
        for at in windows(sizes):
            net.h.clear()
            ys = tt.scan(net, xs[at])
            ys, hs = ys if isinstance(ys, tuple) else (ys, torch.stack(net.h))
            yield loss(ys, hs, at)

    return run


def layerwise(sizes: list[int]) -> Callable[[Net, Tensor], Iterator[Tensor]]:
    def run(net: Net, xs: Tensor) -> Iterator[Tensor]:
        for at in windows(sizes):
            hs = tt.scan(net.a, xs[at])
            ys = tt.scan(nn.Sequential(net.between, net.b, net.head), hs)
            yield loss(ys, hs, at)

    return run


def upper_steps(net: Net, xs: Tensor) -> Iterator[Tensor]:
    """The lower layer in windows, the upper one step by step."""
    for at in windows([6] * 3):
        hs = tt.scan(net.a, xs[at])
        yield loss(torch.stack([net.head(net.b(net.between(h))) for h in hs]), hs, at)


RUNS: dict[str, tuple[type[Net], Callable[[Net, Tensor], Iterator[Tensor]]]] = {
    "steps": (Net, steps),
    "steps, returned": (Given, steps),
    "steps, hooked": (Hooked, steps),
    "scan, stored": (Net, scans([STEPS])),
    "scans, stored": (Net, scans([5, 1, 12])),
    "scan, returned": (Given, scans([STEPS])),
    "scans, returned": (Given, scans([1, 7, 10])),
    "scan, hooked": (Hooked, scans([STEPS])),
    "scans, hooked": (Hooked, scans([3, 15])),
    "layerwise": (Net, layerwise([STEPS])),
    "layerwise, windows": (Net, layerwise([4, 1, 13])),
}
BETWEEN: dict[str, Callable[[], nn.Module]] = {
    "direct": nn.Identity,
    "linear": lambda: nn.Linear(9, 9),
}


def gradients(net: Net, run: Any, rule: tt.Rule, *, reset: bool = True) -> dict[str, Tensor]:
    tt.set_rule(net, rule)
    if reset:
        tt.reset(net)
    net.zero_grad()
    total = list[Tensor]()
    for one in run(net, stream()):
        if rule.name == "bptt":
            total.append(one)
        else:
            one.backward()
    if total:
        sum(total).backward()  # type: ignore[union-attr]
    return {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}


def error(got: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    assert got.keys() == want.keys()
    return max(float((got[n] - want[n]).norm() / want[n].norm()) for n in want)


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("run", RUNS)
def test_a_loss_on_hidden_outputs_is_bptt(run: str, between: str) -> None:
    kind, how = RUNS[run]
    net = kind(BETWEEN[between])
    want = gradients(copy.deepcopy(net), steps, tt.rules.bptt())
    for _ in range(2):
        assert error(gradients(net, how, tt.rules.cascade(pairs=None)), want) < 1e-10
    assert error(gradients(net, how, tt.rules.cascade(pairs=STEPS)), want) < 1e-10
    assert error(gradients(net, how, tt.rules.drtrl()), want) > 1e-3
