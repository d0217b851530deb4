"""What is assigned to a neuron or written into its values in mid-stream holds from the next step on, and no sooner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from core.graph import gradients, learn, unrolled
from torch import Tensor, nn

import tracetorch as tt

RULES = ("drtrl", "ottt", "bptt")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        tt.Layer(nn.Linear(6, 7), tt.LIF(half_life=4)), tt.Layer(nn.Linear(7, 7), tt.LIF(half_life=3))
    ).double()


def inputs() -> Tensor:
    return 2 * (torch.rand(9, 3, 6, generator=torch.Generator().manual_seed(1)) < 0.6).double()


def value(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def assigned(name: str, new: Any) -> Callable[[nn.Module], None]:
    return lambda layer: setattr(layer.neuron, name, new)


def storage(layer: Any) -> None:
    layer.neuron.beta.data = value(0.5)


def through_numpy(layer: Any) -> None:
    layer.neuron.beta.numpy()[()] = 0.5


def loaded(layer: Any) -> None:
    layer.load_state_dict({"neuron.beta": value(0.5)}, strict=False)


def loaded_as_it_is(layer: Any) -> None:
    layer.load_state_dict({"neuron.beta": value(0.5)}, strict=False, assign=True)


BETA = assigned("beta", value(0.5))
CHANGES: dict[str, tuple[Callable[[Any], None], Callable[[Any], None]]] = {
    "surrogate": (assigned("surrogate", tt.surrogates.Sigmoid(3.0)),) * 2,
    "no reset": (assigned("reset", tt.NoReset()),) * 2,
    "normalized": (assigned("normalized", True),) * 2,
    "threshold": (assigned("threshold", value(0.7)),) * 2,
    "threshold in place": (lambda layer: layer.neuron.threshold.copy_(value(0.7)), assigned("threshold", value(0.7))),
    "beta": (BETA, BETA),
    "beta in place": (lambda layer: layer.neuron.beta.copy_(value(0.5)), BETA),
    "beta.data": (storage, BETA),
    "beta through NumPy": (through_numpy, BETA),
    "load_state_dict": (loaded, BETA),
    "load_state_dict(assign=True)": (loaded_as_it_is, BETA),
}


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_neuron_holds_from_the_next_step_on(change: str, rule: str, backend: str) -> None:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])
    done, plain = CHANGES[change]
    net, expected = network(), unrolled(network())
    tt.set_rule(net, tt.rules.PRESETS[rule]())
    tt.reset(net)
    tt.set_backend(net, backend)
    ys = learn(net, inputs(), at_once=rule == "bptt", before=lambda n, t: done(n[1]) if t == 4 else None)
    zs = learn(expected, inputs(), at_once=True, before=lambda n, t: plain(n[1]) if t == 4 else None)
    unchanged = unrolled(network())
    learn(unchanged, inputs(), at_once=True)
    assert all(torch.equal(a, b) for a, b in zip(ys, zs, strict=True))
    exact = slice(0 if rule == "bptt" else 2, None)  # of the upper layer alone, under the other rules
    for a, b in zip(gradients(net)[exact], gradients(expected)[exact], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(gradients(unchanged)[-1], gradients(expected)[-1]), "the change did something"


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("change", [tt.HardReset(), tt.SoftReset(gradient=True)], ids=repr)
@pytest.mark.parametrize("rule", ["drtrl", "ottt"])
def test_a_neuron_whose_past_needs_another_kind_of_trace_raises_until_a_reset(
    rule: str, change: Any, backend: str
) -> None:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])
    net = network()
    tt.set_rule(net, tt.rules.PRESETS[rule]())
    tt.set_backend(net, backend)
    net(inputs()[0]).sum().backward()
    net[1].neuron.reset = change
    with pytest.raises((RuntimeError, ValueError), match=r"call tt\.reset\(net\) first|cannot represent"):
        net(inputs()[1])


@pytest.mark.parametrize("rule", ["trace", "eprop", "cascade"])
@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("how", ["copy_", "data", "load_state_dict"])
def test_layers_below_follow_the_readouts_decay_from_the_next_step_on(rule: str, backend: str, how: str) -> None:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])

    def made() -> nn.Sequential:
        torch.manual_seed(0)
        net = nn.Sequential(
            tt.Layer(nn.Linear(6, 7), tt.LIF(half_life=4)), tt.Layer(nn.Linear(7, 3), tt.LI(half_life=6))
        ).double()
        tt.set_rule(net, tt.rules.PRESETS[rule]())
        tt.reset(net)
        tt.set_backend(net, backend)
        return net

    found = []
    for restored in (True, False):
        net = made()
        learn(net, inputs(), at_once=False)
        changed = {k: v.clone() for k, v in net.state_dict().items()} | {"1.neuron.beta": value(0.4)}
        if restored:
            carried, net = tt.get_state(net), made()
            net.load_state_dict(changed)
            tt.set_state(net, carried)
        elif how == "copy_":
            net[1].neuron.beta.copy_(value(0.4))
        elif how == "data":
            net[1].neuron.beta.data.copy_(value(0.4))
        else:
            net.load_state_dict(changed)
        net.zero_grad()
        learn(net, inputs().flip(0), at_once=False)
        found.append(gradients(net))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("change", ["surrogate", "storage"])
def test_a_stream_does_not_run_on_with_another_neuron(change: str) -> None:
    pytest.importorskip("numba")
    stream = tt.Stream(network(), lr=0.1, loss="mse")
    stream(inputs()[0], torch.ones(3, 7, dtype=torch.float64))
    if change == "surrogate":
        stream.net[1].neuron.surrogate = tt.surrogates.Sigmoid(3.0)
    else:
        storage(stream.net[1])
    with pytest.raises(RuntimeError, match="a neuron was changed"):
        stream(inputs()[0], torch.ones(3, 7, dtype=torch.float64))


GAIN = 0.5


class Driven(tt.Neuron):
    """A neuron whose step reads values that are no attributes of it."""

    gain = 0.5

    def __init__(self, **decay: Any) -> None:
        super().__init__(**decay)
        self.factors = [0.5]

    def step(self, s: Any, current: Tensor) -> Any:
        v = self.beta * s.v + current * (self.gain + GAIN + self.factors[0])
        z = self.surrogate(v - self.threshold)
        return s.replace(v=v - z.detach() * self.threshold), z


READ: dict[str, Callable[[Any], None]] = {
    "of the class": lambda neuron: setattr(Driven, "gain", 1.5),
    "global": lambda neuron: globals().__setitem__("GAIN", 1.5),
    "in a list": lambda neuron: neuron.factors.__setitem__(0, 1.5),
}


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("rule", ["drtrl", "bptt"])
@pytest.mark.parametrize("place", READ)
def test_a_value_that_a_step_reads_from_elsewhere_may_change(
    place: str, rule: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])

    def made() -> nn.Sequential:
        monkeypatch.setattr(Driven, "gain", 0.5)
        monkeypatch.setitem(globals(), "GAIN", 0.5)
        torch.manual_seed(0)
        return nn.Sequential(tt.Layer(nn.Linear(6, 7), Driven(half_life=4))).double()

    found = []
    for compare in (False, True):
        net = unrolled(made()) if compare else made()
        if not compare:
            tt.set_rule(net, tt.rules.PRESETS[rule]())
            tt.set_backend(net, backend)

        def change(n: Any, t: int) -> None:
            if t == 4:
                READ[place](n[0].neuron)

        ys = learn(net, inputs(), at_once=compare or rule == "bptt", before=change)
        found.append([*ys, *gradients(net)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
