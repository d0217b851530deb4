"""Hooks run in scans as they do in steps, or are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
)

import tracetorch as tt


def network(rule: tt.Rule) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(3, 5), tt.LIF(half_life=4)),
        nn.Sequential(nn.Linear(5, 5), tt.Layer(nn.Linear(5, 4), tt.LIF(half_life=3))),
        nn.Identity(),
        tt.Layer(nn.Linear(4, 2), tt.LI(half_life=6)),
    ).double()
    tt.set_rule(net, rule)
    return net


def scaled(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
    return 0.5 * output


def shifted(module: nn.Module, args: Any) -> Any:
    return (args[0] + 0.25,)


def doubled(module: nn.Module, grad_input: Any, grad_output: Any) -> Any:
    return tuple(None if g is None else 2 * g for g in grad_input)


def forward_hook(module: nn.Module) -> Any:
    return module.register_forward_hook(scaled)


def forward_pre_hook(module: nn.Module) -> Any:
    return module.register_forward_pre_hook(shifted)


def backward_hook(module: nn.Module) -> Any:
    return module.register_full_backward_hook(doubled)


def instance_forward(module: nn.Module) -> Any:
    forward = module.forward
    module.forward = lambda x: forward(x) * 0.5  # type: ignore[method-assign]


PLACES: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "layer": lambda net: net[0],
    "inner layer": lambda net: net[1][1],
    "readout": lambda net: net[3],
    "inner container": lambda net: net[1],
    "network": lambda net: net,
    "linear": lambda net: net[1][0],
    "identity": lambda net: net[2],
}


def outcome(net: nn.Module, xs: torch.Tensor, how: str) -> list[torch.Tensor]:
    xs = xs.clone().requires_grad_()
    ys = torch.stack([net(x) for x in xs]) if how == "steps" else tt.scan(net, xs)
    ys.square().sum().backward()
    return [ys.detach(), xs.grad, *(p.grad for p in net.parameters())]


@pytest.mark.parametrize("hook", [forward_hook, forward_pre_hook, backward_hook], ids=lambda f: f.__name__)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("rule", ["bptt", "sltt"])
def test_hooks_run_in_scans_as_in_steps(rule: str, place: str, hook: Any) -> None:
    xs = 4 * torch.rand(6, 2, 3, dtype=torch.float64)
    found = []
    for how in ("plain", "steps", "scan"):
        net = network(tt.rules.PRESETS[rule]())
        if how != "plain":
            hook(PLACES[place](net))
        found.append(outcome(net, xs, how))
    for a, b in zip(*found[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert any(not torch.equal(a, b) for a, b in zip(found[0], found[2], strict=True)), "the hook did something"


@pytest.mark.parametrize("place", ["linear", "identity", "inner container"])
def test_a_forward_of_its_own_runs_in_scans_as_in_steps(place: str) -> None:
    xs = 4 * torch.rand(6, 2, 3, dtype=torch.float64)
    found = []
    for how in ("steps", "scan"):
        net = network(tt.rules.bptt())
        instance_forward(PLACES[place](net))
        found.append(outcome(net, xs, how))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("out", ["all", "last"])
@pytest.mark.parametrize("rule", [n for n in tt.rules.PRESETS if n != "rate"])
def test_a_hook_sees_each_step_once(rule: str, out: Any) -> None:
    seen: list[torch.Size] = []
    net = network(tt.rules.PRESETS[rule]())
    net[3].register_forward_hook(lambda m, args, y: seen.append(y.shape))
    expected = tt.scan(network(tt.rules.PRESETS[rule]()), torch.ones(6, 2, 3).double(), out)
    torch.testing.assert_close(tt.scan(net, torch.ones(6, 2, 3).double(), out), expected)
    assert seen == [torch.Size([2, 2])] * 6


@pytest.mark.parametrize(
    ("register", "hook"),
    [
        (register_module_forward_hook, scaled),
        (register_module_forward_pre_hook, shifted),
        (register_module_full_backward_hook, doubled),
    ],
)
def test_global_hooks_run_in_scans_as_in_steps(register: Any, hook: Any) -> None:
    xs = 4 * torch.rand(6, 2, 3, dtype=torch.float64)
    found = [outcome(network(tt.rules.bptt()), xs, "scan")]
    handle = register(hook)
    try:
        found += [outcome(network(tt.rules.bptt()), xs, how) for how in ("steps", "scan")]
    finally:
        handle.remove()
    for a, b in zip(*found[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert not torch.equal(found[0][1], found[2][1])


@pytest.mark.parametrize("hook", [forward_hook, forward_pre_hook, backward_hook], ids=lambda f: f.__name__)
@pytest.mark.parametrize("part", ["synapse", "neuron"])
@pytest.mark.parametrize("size", [5, 128])
def test_hooks_on_the_parts_of_a_layer_are_refused(part: str, hook: Any, size: int) -> None:
    layer = tt.Layer(nn.Linear(64, size), tt.LIF(half_life=4))
    layer(torch.ones(2, 64))
    hook(getattr(layer, part))
    with pytest.raises(TypeError, match="hook"):
        layer(torch.ones(2, 64))
    with pytest.raises(TypeError, match="hook"):
        tt.scan(layer, torch.ones(3, 2, 64))


def test_rate_refuses_hooks_as_it_needs_one_window() -> None:
    net = network(tt.rules.rate())
    forward_hook(net[0])
    with pytest.raises(RuntimeError, match="without hooks"):
        tt.scan(net, torch.ones(6, 2, 3).double())


@pytest.mark.parametrize("place", ["layer", "network"])
@pytest.mark.parametrize("out", ["all", "last"])
def test_hooks_run_in_compiled_scans(place: str, out: Any) -> None:
    xs = 4 * torch.rand(4, 2, 3, dtype=torch.float64)
    found = []
    for compiled in (False, True):
        net = network(tt.rules.sltt())
        forward_hook(PLACES[place](net))
        tt.reset(net)
        scan: Any = tt.Scan(net, out)
        found.append((torch.compile(scan, backend="eager") if compiled else scan)(xs).detach())
    torch.testing.assert_close(*found)
    assert not torch.equal(found[0], tt.scan(network(tt.rules.sltt()), xs, out))


class Halved(tt.Layer):
    """A layer with a forward of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * super().forward(x)


@pytest.mark.parametrize("instance", [False, True])
@pytest.mark.parametrize("out", ["all", "last"])
@pytest.mark.parametrize("rule", [tt.rules.cascade(), tt.rules.drtrl()])
def test_a_layer_with_a_forward_of_its_own_is_called(rule: tt.Rule, out: str, instance: bool) -> None:
    found, xs = [], 3 * torch.rand(8, 2, 3, dtype=torch.float64)
    for how in ("steps", "scan"):
        net = network(rule)
        if instance:
            instance_forward(net[0])
        else:
            net[0] = Halved(net[0].synapse, net[0].neuron, rule=rule)  # type: ignore[arg-type]
        tt.reset(net)
        if how == "steps":
            for t, x in enumerate(xs):
                y = net(x)
                if out == "all" or t == len(xs) - 1:
                    y.square().sum().backward()
        else:
            ys = tt.scan(net, xs, out)  # type: ignore[call-overload]
            ys.square().sum().backward()
            y = ys if out == "last" else ys[-1]
        found.append([y.detach(), *(p.grad for p in net.parameters())])
    assert found[0][0].any()
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)
