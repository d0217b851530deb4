"""Maximum and average pools over a window are torch's bit for bit, values and gradients; others are left to torch."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt

numba = pytest.importorskip("numba")

from tracetorch.backends.numba import pooling  # noqa: E402

scan = importlib.import_module("tracetorch.scan")  # the package's name is the function
F32, F64 = torch.float32, torch.float64
SHAPES = [
    ((40, 12, 30, 30), 2),
    ((60, 32, 11, 11), 2),
    ((300, 3, 7, 9), (2, 2)),
    ((40, 8, 12, 24), 2),
    ((40, 5, 20, 21), 3),
    ((40, 12, 14, 17), (2, 3)),
    ((40, 12, 30, 31), (2, 1)),
    ((400, 9, 3, 4), 2),
]
NOT_PLAIN = {
    "overlapping": nn.MaxPool2d(3, stride=2),
    "apart": nn.MaxPool2d(2, stride=3),
    "padding": nn.MaxPool2d(2, padding=1),
    "ceil_mode": nn.MaxPool2d(2, ceil_mode=True),
    "dilation": nn.MaxPool2d(2, dilation=2),
    "places returned": nn.MaxPool2d(2, return_indices=True),
    "1d": nn.MaxPool1d(2),
    "average, overlapping": nn.AvgPool2d(3, stride=2),
    "average, padding": nn.AvgPool2d(2, padding=1),
    "average, ceil_mode": nn.AvgPool2d(2, ceil_mode=True),
    "average, another divisor": nn.AvgPool2d(2, divisor_override=3),
    "average, 3d": nn.AvgPool3d(2),
}


def drawn(kind: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    g = torch.Generator().manual_seed(1)
    if kind == "spikes":  # most windows are ties
        return (torch.rand(shape, generator=g) < 0.1).to(dtype)
    x = torch.randn(shape, generator=g, dtype=dtype)
    if kind == "not finite":
        for value, share in ((float("nan"), 0.3), (-float("inf"), 0.2), (float("inf"), 0.05)):
            x[torch.rand(shape, generator=g) < share] = value
    return x


@pytest.mark.parametrize("kind", ["spikes", "normal", "not finite"])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize(("shape", "size"), SHAPES, ids=str)
def test_values_and_gradients_are_those_of_torch(
    shape: tuple[int, ...], size: int, dtype: torch.dtype, kind: str
) -> None:
    module, x = nn.MaxPool2d(size), drawn(kind, shape, dtype)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    got, want = pooling.pooled(module, ours), module(theirs)
    assert got is not None
    assert torch.equal(got.nan_to_num(7.0), want.nan_to_num(7.0)) and torch.equal(got.isnan(), want.isnan())
    q = drawn("normal", tuple(want.shape), dtype)
    got.backward(q)
    want.backward(q)
    assert ours.grad is not None and torch.equal(ours.grad, theirs.grad)
    assert int((ours.grad != 0).sum()) == q.numel()


@pytest.mark.parametrize("kind", ["spikes", "normal", "not finite"])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize(("shape", "size"), SHAPES, ids=str)
def test_means_and_their_gradients_are_those_of_torch(
    shape: tuple[int, ...], size: int, dtype: torch.dtype, kind: str
) -> None:
    module, x = nn.AvgPool2d(size), drawn(kind, shape, dtype)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    got, want = pooling.pooled(module, ours), module(theirs)
    assert got is not None and bool(got.nan_to_num(0.0).any())
    assert torch.equal(got.nan_to_num(7.0), want.nan_to_num(7.0)) and torch.equal(got.isnan(), want.isnan())
    q = drawn("normal", tuple(want.shape), dtype)
    got.backward(q)
    want.backward(q)
    assert ours.grad is not None and torch.equal(ours.grad, theirs.grad)
    assert not torch.equal(got.detach(), nn.MaxPool2d(size)(x))


def test_the_first_of_equal_values_gets_the_gradient() -> None:
    x = torch.zeros(64, 8, 16, 16, requires_grad=True)
    found = pooling.pooled(nn.MaxPool2d(2), x)
    assert found is not None
    found.sum().backward()
    assert bool((x.grad[..., ::2, ::2] == 1).all()) and int(x.grad.sum()) == found.numel()


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_torch(name: str) -> None:
    assert pooling.pooled(NOT_PLAIN[name], torch.zeros(64, 8, 16, 16)) is None


def test_other_inputs_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = nn.MaxPool2d(2), torch.zeros(64, 8, 16, 16)
    assert pooling.pooled(module, x) is not None
    for other in (x.bfloat16(), x.to(memory_format=torch.channels_last), x[:1], x[0], x.to("meta"), nn.Parameter(x)):
        assert pooling.pooled(module, other) is None
    assert pooling.pooled(nn.MaxPool2d(17), x) is None
    with torch.autocast("cpu"):
        assert pooling.pooled(module, x) is None
    own = type("Own", (nn.MaxPool2d,), {})(2)
    assert pooling.pooled(own, x) is None
    module.forward = lambda x: x
    assert pooling.pooled(module, x) is None
    for kind in (nn.MaxPool2d, nn.AvgPool2d):
        assert pooling.pooled(kind(2), x) is not None
        monkeypatch.setattr(kind, "forward", lambda self, x: x)
        assert pooling.pooled(kind(2), x) is None


def network() -> nn.Sequential:
    torch.manual_seed(2)
    net = nn.Sequential(
        tt.Layer(nn.Conv2d(2, 8, 3), tt.LIF(half_life=4)),
        nn.MaxPool2d(2),
        tt.Layer(nn.Conv2d(8, 8, 3), tt.LIF(half_life=4)),
        nn.AvgPool2d(2),
        nn.Flatten(),
        tt.Layer(nn.Linear(8 * 3 * 3, 3), tt.LI(half_life=4)),
    )
    tt.set_rule(net, tt.rules.trace())
    return net.double()


def gradients(net: nn.Module, xs: Tensor) -> tuple[list[Tensor], float]:
    tt.reset(net)
    rates: list[float] = []
    with torch.no_grad():
        rates.append(float(tt.scan(net[0], xs).mean()))
    tt.reset(net)
    net.zero_grad()
    tt.scan(net, xs).square().sum().backward()
    return [p.grad.clone() for p in net.parameters()], rates[0]


def test_a_network_learns_as_with_pools_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    net, xs = network(), 2.0 * drawn("spikes", (16, 8, 2, 18, 18), F64)
    used: list[bool] = []

    def noted(module: nn.Module, x: Tensor) -> Tensor | None:
        found = pooling.pooled(module, x)
        used.append(found is not None)
        return found

    monkeypatch.setattr(scan, "pooled", noted)
    got, rate = gradients(net, xs)
    assert sum(used) == 2 and 0.01 < rate < 0.9
    monkeypatch.setattr(scan, "pooled", lambda module, x: None)
    want, _ = gradients(net, xs)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_a_pool_with_a_hook_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    net, xs = network(), drawn("spikes", (3, 8, 2, 18, 18), F64)
    seen: list[torch.Size] = []
    net[1].register_forward_hook(lambda module, args, out: seen.append(out.shape))
    monkeypatch.setattr(scan, "pooled", lambda module, x: pytest.fail("a hooked pool has to be called"))
    net(xs[0])
    tt.reset(net)
    tt.scan(nn.Sequential(net[0], net[1]), xs)
    assert len(seen) == 4
