"""Mixed precision as torch documents it, and a change of dtype in the middle of a stream."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import tracetorch as tt

HALF = [torch.bfloat16, torch.float16]


def network(rule: str, kind: str) -> nn.Sequential:
    torch.manual_seed(0)
    if kind == "conv":
        body = [tt.Layer(nn.Conv1d(2, 4, 3), tt.LIF(half_life=4)), nn.Flatten()]
    elif kind == "compiled":
        body = [tt.Layer(nn.Linear(64, 80), tt.LIF(half_life=4))]
    else:
        fed = nn.Linear(12, 12, bias=False) if kind == "recurrent" else None
        body = [tt.Layer(nn.Linear(10, 12), tt.LIF(half_life=4), recurrent=fed)]
    net = nn.Sequential(*body, tt.Layer(nn.Linear(_width(kind), 2), tt.LI(half_life=6)))
    tt.set_rule(net, tt.rules.PRESETS[rule](**({"approximate": True} if rule == "ottt" else {})))
    return net


def _width(kind: str) -> int:
    return {"conv": 4 * 8, "compiled": 80}.get(kind, 12)


def inputs(steps: int, kind: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = {"conv": (3, 2, 10), "compiled": (3, 64)}.get(kind, (3, 10))
    return 4 * torch.rand(steps, *shape, generator=generator)


def backward(rule: str, losses: list[torch.Tensor], loss: torch.Tensor, *, last: bool) -> None:
    """Learn at each step where the rule can."""
    losses.append(loss)
    if rule == "bptt":
        if last:
            sum(losses).backward()
    else:
        loss.backward()


def cosine(a: nn.Module, b: nn.Module) -> float:
    flat = [torch.cat([p.grad.flatten().double() for p in n.parameters() if p.requires_grad]) for n in (a, b)]
    return float(torch.nn.functional.cosine_similarity(*flat, dim=0))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("kind", ["dense", "recurrent", "conv", "compiled"])
@pytest.mark.parametrize("rule", [r for r in tt.rules.PRESETS if r != "rate"])
def test_steps_under_autocast_with_the_backward_outside(rule: str, kind: str, dtype: torch.dtype) -> None:
    nets = [network(rule, kind) for _ in range(2)]
    for net, on in zip(nets, (True, False), strict=True):
        tt.reset(net)
        losses: list[torch.Tensor] = []
        for i, x in enumerate(inputs(4, kind)):
            with torch.autocast("cpu", dtype=dtype, enabled=on):
                loss = net(x).float().square().sum()
            backward(rule, losses, loss, last=i == 3)
        assert all(p.grad is not None and p.grad.dtype == p.dtype for p in net.parameters() if p.requires_grad)
        assert net[0].state.v.dtype == torch.float32
    assert cosine(*nets) > 0.9


@pytest.mark.parametrize("out", ["all", "last"])
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("kind", ["dense", "recurrent", "conv", "compiled"])
@pytest.mark.parametrize("rule", list(tt.rules.PRESETS))
def test_scans_under_autocast_with_the_backward_outside(rule: str, kind: str, dtype: torch.dtype, out: Any) -> None:
    nets = [network(rule, kind) for _ in range(2)]
    for net, on in zip(nets, (True, False), strict=True):
        windows = 1 if rule in ("rate", "bptt") else 2
        for xs in inputs(8, kind).chunk(windows):
            with torch.autocast("cpu", dtype=dtype, enabled=on):
                loss = tt.scan(net, xs, out).float().square().sum()
            loss.backward()
    assert cosine(*nets) > 0.9


@pytest.mark.parametrize("dtype", [*HALF, torch.float64])
@pytest.mark.parametrize("kind", ["dense", "recurrent", "conv", "compiled"])
@pytest.mark.parametrize("rule", [r for r in tt.rules.PRESETS if r != "rate"])
def test_a_change_of_dtype_in_the_middle_of_a_stream(rule: str, kind: str, dtype: torch.dtype) -> None:
    nets = [network(rule, kind) for _ in range(2)]
    for net, moves in zip(nets, (True, False), strict=True):
        tt.reset(net)
        losses: list[torch.Tensor] = []
        for i, x in enumerate(inputs(6, kind)):
            if i == 3 and moves:
                net.to(dtype)
            y = net(x.to(dtype) if i >= 3 and moves else x)
            assert y.dtype == (dtype if i >= 3 and moves else torch.float32)
            backward(rule, losses, y.float().square().sum(), last=i == 5)
        expected = torch.float64 if moves and dtype == torch.float64 else torch.float32
        assert net[0].state.v.dtype == expected
    assert cosine(*nets) > (0.9 if dtype in HALF else 0.9999)


@pytest.mark.parametrize("scanned", [False, True])
@pytest.mark.parametrize("rule", ["cascade", "drtrl"])
def test_an_overflow_in_half_precision_is_the_scalers_to_skip(rule: str, scanned: bool) -> None:
    """A linear head under autocast overflows at the first scales; the same weights without the skipped steps."""
    nets = [nn.Sequential(network(rule, "dense"), nn.Linear(2, 4)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [torch.optim.SGD(net.parameters(), lr=1e-2) for net in nets]
    scalers = [torch.amp.GradScaler("cpu", init_scale=s, growth_interval=1000) for s in (2.0**20, 1.0)]
    skipped = []
    for xs in inputs(24, "dense").split(2):
        for net, optimizer, scaler in zip(nets, optimizers, scalers, strict=True):
            with torch.autocast("cpu", torch.float16):
                y = tt.scan(net, xs) if scanned else net(xs[0])
                loss = y.float().square().mean()
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            before = scaler.get_scale()
            if net is nets[0] or not skipped[-1]:
                scaler.step(optimizer)
                scaler.update()
            if net is nets[0]:
                skipped.append(scaler.get_scale() < before)
    assert skipped[0] and not skipped[-1]
    for a, b in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(a, b, rtol=5e-2, atol=2e-3)
