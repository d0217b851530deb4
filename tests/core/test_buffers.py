"""Inputs may be written into the same memory step after step, and what is changed in place after its use raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from core.graph import gradients, learn, losses
from torch import Tensor, nn

import tracetorch as tt

RULES = ("drtrl", "ottt", "trace", "sltt", "eprop", "cascade")


def network(rule: str, backend: str) -> nn.Sequential:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(6, 7), tt.LIF(half_life=4)), tt.Layer(nn.Linear(7, 3), tt.LI(half_life=6))
    ).double()
    tt.set_rule(net, tt.rules.PRESETS[rule]())
    tt.reset(net)
    tt.set_backend(net, backend)
    return net


def inputs(steps: int = 8, *, kind: torch.dtype = torch.float64) -> Tensor:
    return (2 * (torch.rand(steps, 3, 6, generator=torch.Generator().manual_seed(1)) < 0.6)).to(kind)


def copied(buffer: Tensor, x: Tensor) -> None:
    buffer.copy_(x)


def through_numpy(buffer: Tensor, x: Tensor) -> None:
    buffer.numpy()[:] = x.numpy()


def through_data(buffer: Tensor, x: Tensor) -> None:
    buffer.data.copy_(x)


WRITES = (copied, through_numpy, through_data)


def same(a: list[Tensor], b: list[Tensor]) -> None:
    assert sum(float(g.abs().sum()) for g in b) > 0
    for found, expected in zip(a, b, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("rule", RULES)
def test_steps_may_share_one_buffer(rule: str, backend: str, write: Callable[[Tensor, Tensor], None]) -> None:
    found = []
    for shared in (False, True):
        net, buffer = network(rule, backend), torch.empty(3, 6, dtype=torch.float64)

        def call(x: Tensor, net: Any = net, buffer: Tensor = buffer, shared: bool = shared) -> Tensor:
            if shared:
                write(buffer, x)
            return net(buffer if shared else x)

        for x in inputs():
            losses(call(x)).backward()
        found.append(gradients(net))
    same(*found)


@pytest.mark.parametrize("kind", [torch.float64, torch.uint8])
@pytest.mark.parametrize("out", ["all", "last"])
@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("rule", RULES)
def test_windows_may_share_one_buffer(rule: str, backend: str, out: Any, kind: torch.dtype) -> None:
    found = []
    for shared in (False, True):
        net, buffer = network(rule, backend), torch.empty(4, 3, 6, dtype=kind)
        for window in inputs(12, kind=kind).split(4):
            y = tt.scan(net, buffer.copy_(window) if shared else window, out)
            if shared:
                buffer.zero_()
            losses(y).backward()
        found.append(gradients(net))
    same(*found)


def test_a_stream_may_be_given_one_buffer() -> None:
    pytest.importorskip("numba")
    found = []
    for shared in (False, True):
        net, buffer = network("drtrl", "numba"), torch.empty(3, 6, dtype=torch.float64)
        stream = tt.Stream(net, lr=0.01, loss="mse")
        for x in inputs():
            stream(buffer.copy_(x) if shared else x, torch.ones(3, 3, dtype=torch.float64))
        stream.sync()
        found.append([p.detach().clone() for p in net.parameters()])
    same(*found)


@pytest.mark.parametrize("rule", RULES)
def test_an_input_that_is_optimized_in_place_is_the_one_of_its_step(rule: str) -> None:
    found = []
    for in_place in (True, False):
        net, x = network(rule, "torch"), inputs()[0].requires_grad_()
        for _ in range(5):
            losses(net(x)).backward()
            with torch.no_grad():
                if in_place:
                    x -= 0.3 * x.grad
                else:
                    x = (x - 0.3 * x.grad).requires_grad_()
            x.grad = None
        found.append(gradients(net))
    same(*found)


def test_a_value_between_layers_that_is_changed_after_its_use_raises() -> None:
    net = network("drtrl", "torch")
    h = net[0](inputs()[0])
    losses(net[1](h)).backward()
    h.detach().mul_(0.5)
    with pytest.raises(RuntimeError, match="changed in place"):
        net(inputs()[1])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_activations_in_place_between_layers_are_those_that_are_not(rule: str, backend: str) -> None:
    found = []
    for in_place in (False, True):
        net = network(rule, backend)
        net = nn.Sequential(net[0], nn.LeakyReLU(0.2, inplace=in_place), net[1], nn.Hardtanh(-0.5, 0.5, in_place))
        tt.reset(net)
        learn(net, inputs(), at_once=False)
        tt.scan(net, inputs()).sum().backward()
        found.append(gradients(net))
    same(*found)


class Last(tt.Neuron):
    """A neuron that carries its current, and returns what it carries."""

    state = ("v", "last")

    def step(self, s: Any, current: Tensor) -> Any:
        v = self.beta * s.v + s.last
        return s.replace(v=v, last=current), v


NEURONS: dict[str, Callable[[], tt.Neuron]] = {
    "leaky": lambda: tt.LI(half_life=4),
    "mean": tt.Mean,
    "spiking": lambda: tt.LIF(half_life=4),
    "user": lambda: Last(half_life=4),
}


@pytest.mark.parametrize("how", ["steps", "without a graph", "hooked scan", "scan", "recurrent", "compiled"])
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("rule", ["bptt", "drtrl", "trace", "sltt", "cascade"])
def test_outputs_may_be_written_into(rule: str, neuron: str, how: str) -> None:
    found = []
    for in_place in (False, True):
        torch.manual_seed(0)
        fed = nn.Linear(7, 7, bias=False) if how == "recurrent" else None
        net = nn.Sequential(tt.Layer(nn.Linear(6, 7), NEURONS[neuron](), recurrent=fed)).double()
        tt.set_rule(net, tt.rules.PRESETS[rule]())
        tt.reset(net)
        if how == "hooked scan":
            net[0].register_forward_hook(lambda _, args, y, in_place=in_place: y.mul_(0.5) if in_place else 0.5 * y)
        call = torch.compile(net, backend="eager") if how == "compiled" else net
        seen = []
        with torch.set_grad_enabled(how != "without a graph"):
            for window in inputs(12).split(3):
                ys = tt.scan(net, window) if "scan" in how else torch.stack([torch.zeros(3, 7).double()])
                for x in [] if "scan" in how else window:
                    y = call(x)
                    ys = torch.cat([ys, y[None]])
                    y = y.mul_(0.5) if in_place else 0.5 * y
                seen.append(ys.detach().clone())
                if how != "without a graph" and rule != "bptt":
                    losses(ys.mul_(0.5) if in_place else 0.5 * ys).backward()
                elif in_place:
                    ys.detach().zero_()
        found.append([*seen, *gradients(net)])
    same(*found)


def test_states_may_be_the_inputs_of_a_synapse_that_passes_them_on() -> None:
    class Gain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return x if bool((self.weight == 1).all()) else x * self.weight

    found = []
    for shared in (False, True):
        layer, buffer, seen = tt.Layer(tt.LinearInWeights(Gain()), Last(half_life=4).double()), torch.empty(3, 6), []
        buffer = buffer.double()
        with torch.no_grad():
            for x in inputs():
                seen.append(layer(buffer.copy_(x) if shared else x).clone())
        found.append(seen)
    same(*found)
