"""What replays, records or transforms a call of a layer is refused, and the network stays usable."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

import tracetorch as tt


def network(rule: str = "trace") -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(60, 70), tt.LIF(half_life=4)), nn.ReLU(), tt.Layer(nn.Linear(70, 2), tt.LI(half_life=6))
    )
    tt.set_rule(net, tt.rules.PRESETS[rule]())
    tt.reset(net)
    return net


def as_before(net: nn.Module, call: Callable[[], Any], error: Any, match: str) -> None:
    before = tt.get_state(net)
    with pytest.raises(error, match=match):
        call()
    after = tt.get_state(net)
    assert before.keys() == after.keys()
    for k in before:
        torch.testing.assert_close(before[k], after[k])
    twin = network()
    tt.set_state(twin, before)
    x = torch.rand(3, 60)
    torch.testing.assert_close(net(x), twin(x))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("rule", [n for n in tt.rules.PRESETS if n != "rate"])
def test_a_checkpoint_that_computes_a_layer_again_is_refused(rule: str, reentrant: bool, whole: bool) -> None:
    net = network(rule)
    call = (lambda x: tt.scan(net, x.expand(4, -1, -1))) if whole else net
    states = [tt.get_state(net)]

    def learn() -> None:
        y = checkpoint(call, torch.rand(3, 60, requires_grad=True), use_reentrant=reentrant)
        states.append(tt.get_state(net))  # else a layer has looked at what is between it and the one below, and raised
        y.sum().backward()

    with pytest.raises(RuntimeError, match=r"torch\.utils\.checkpoint"):
        learn()
    before = states[-1]
    after = tt.get_state(net)
    assert after.keys() == before.keys() and all(torch.equal(v, before[k]) for k, v in after.items())


def test_a_checkpoint_without_layers_in_it_is_right() -> None:
    grads = []
    for again in (False, True):
        net = network()
        for x in torch.rand(3, 3, 60, generator=torch.Generator().manual_seed(0)):
            h = net[0](x)
            h = checkpoint(nn.Sequential(nn.ReLU()), h, use_reentrant=False) if again else net[1](h)
            net[2](h).square().sum().backward()
        grads.append([p.grad for p in net.parameters()])
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("how", ["jit.trace", "export", "strict export", "onnx"])
def test_recording_a_network_with_a_state_is_refused(how: str, started: bool) -> None:
    net, x = network(), torch.rand(3, 60)
    if started:
        net(x).sum().backward()

    def record() -> None:
        if how == "jit.trace":
            torch.jit.trace(net, x)
        elif how == "onnx":
            torch.onnx.export(net, (x,), io.BytesIO(), dynamo=False)
        else:
            torch.export.export(net, (x,), strict=how == "strict export")

    as_before(net, record, Exception, "store its state as a constant")


@pytest.mark.parametrize("started", [False, True])
def test_transforms_are_refused(started: bool) -> None:
    net, x = network(), torch.rand(3, 60)
    if started:
        net(x).sum().backward()
    named = dict(net.named_parameters())
    calls: dict[str, Callable[[], Any]] = {
        "vmap": lambda: torch.func.vmap(net)(x.expand(2, 3, 60)),
        "grad": lambda: torch.func.grad(lambda p: torch.func.functional_call(net, p, (x,)).sum())(named),
        "jvp": lambda: torch.func.jvp(net, (x,), (x,)),
        "jacrev": lambda: torch.func.jacrev(lambda x: tt.scan(net, x.unsqueeze(0)))(x),
    }
    for call in calls.values():
        as_before(net, call, RuntimeError, "torch.func")


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_a_value_that_left_a_transform_is_an_input_as_any_other(backend: str) -> None:
    torch.manual_seed(0)
    hidden = tt.Layer(nn.Linear(20, 8), tt.LIF(half_life=5.0, threshold=0.1))
    net = nn.Sequential(hidden, tt.Layer(nn.Linear(8, 3), tt.LI(half_life=5.0)))
    tt.set_backend(net, backend)
    left = []

    def twice(x: torch.Tensor) -> torch.Tensor:
        left.append(2 * x)
        return left[-1].sum()

    x = torch.rand(2, 20)
    torch.func.grad(twice)(x)
    found = []
    for value in (left[0], 2 * x):
        tt.reset(net)
        net.zero_grad()
        for _ in range(3):
            out = net(value)
            out.sum().backward()
        weight = hidden.synapse.weight
        found.append((out.detach(), weight.grad))
        assert weight.grad.any()
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize("between", [nn.Identity(), nn.Linear(60, 60)], ids=["directly", "through a module"])
@pytest.mark.parametrize("rule", [n for n in tt.rules.PRESETS if n not in ("rate", "bptt")])
def test_a_layer_that_runs_twice_in_a_step_is_refused(rule: str, between: nn.Module, backend: str) -> None:
    layer = tt.Layer(nn.Linear(60, 60), tt.LIF(half_life=4), rule=tt.rules.PRESETS[rule]())
    tt.reset(layer)
    tt.set_backend(layer, backend)
    net = nn.Sequential(layer, between, layer)
    with pytest.raises(RuntimeError, match=r"ran twice in one step.*layer\.tied\(\)"):
        net(torch.rand(2, 60))
    assert layer.core.calls == 1 and layer.core.undone == 0  # its first call is a step of its own, and stays
    tied = nn.Sequential(layer, between, layer.tied())
    tt.reset(tied)
    for _ in range(2):
        tied(torch.rand(2, 60)).sum().backward()


@pytest.mark.parametrize("how", ["inner chains", "a module twice"])
@pytest.mark.parametrize("grad", [False, True])
def test_a_layer_that_stands_twice_anywhere_in_chains_is_refused(how: str, grad: bool) -> None:
    a, b = (tt.Layer(nn.Linear(5, 5), tt.LIF(half_life=4)) for _ in range(2))
    block = nn.ModuleDict({"a": a})
    if how == "inner chains":
        net = nn.Sequential(nn.Sequential(a, b), nn.Sequential(nn.ReLU(), nn.Sequential(a)))
    else:
        net = nn.Sequential(block, b, nn.Sequential(block))
    with torch.set_grad_enabled(grad), pytest.raises(ValueError, match="one layer stands twice in the network"):
        tt.reset(net)
    assert a.state is None
    tt.reset(nn.Sequential(nn.Sequential(a, nn.ReLU()), nn.Sequential(b, nn.ReLU())))


def test_outputs_of_the_step_before_may_be_fed_back_without_their_graph() -> None:
    layer = tt.Layer(nn.Linear(60, 60), tt.LIF(half_life=4))
    z = torch.zeros(2, 60)
    for _ in range(3):
        z = layer(torch.rand(2, 60) + z.detach())
        z.sum().backward()


@pytest.mark.parametrize("learns", [True, False])
def test_forward_derivatives_are_refused(learns: bool) -> None:
    net, x = network(), torch.rand(3, 60)
    net.requires_grad_(learns)

    def call() -> None:
        with forward_ad.dual_level():
            net(forward_ad.make_dual(x, torch.ones_like(x)))

    as_before(net, call, RuntimeError, "forward_ad")


@pytest.mark.parametrize("how", ["make_fx", "fake"])
def test_tensors_without_values_are_refused(how: str) -> None:
    net, x = network(), torch.rand(3, 60)
    net(x).sum().backward()

    def call() -> None:
        if how == "make_fx":
            make_fx(net)(x)
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            net(mode.from_tensor(x))

    as_before(net, call, RuntimeError, "make_fx or a FakeTensorMode")


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_many_cotangents_at_once_are_refused_and_one_after_another_is_right(backend: str) -> None:
    net, x = network("drtrl"), (4 * torch.rand(3, 60)).requires_grad_()
    tt.set_backend(net, backend)
    y, every = net(x), torch.eye(6).reshape(6, 3, 2)
    with pytest.raises(RuntimeError, match="many cotangents at once"):
        torch.autograd.grad(y, x, every, is_grads_batched=True, retain_graph=True)
    one, two = (torch.autograd.grad(y, x, every[0], retain_graph=True)[0] for _ in range(2))
    assert torch.equal(one, two) and bool(one.any())


@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize("rule", [n for n in tt.rules.PRESETS if n not in ("rate", "bptt")])
def test_a_layer_that_runs_twice_before_its_consumer_does_is_refused(rule: str, backend: str) -> None:
    net = network(rule)
    tt.set_backend(net, backend)
    a, b = torch.rand(2, 3, 60)
    with pytest.raises(RuntimeError, match=r"ran twice before.*layer\.tied\(\)"):
        net[2](net[0](a) + net[0](b))
    tt.reset(net)
    if rule == "cascade":  # its first step shows which layers feed which
        net[2](net[0](a)).sum().backward()
    chosen = net[0].rule
    if chosen.derives or chosen.above.needs_network:  # whose filter is of a layer above that runs at each step
        with pytest.raises(RuntimeError, match="not in step"):
            net[2](net[0](a).detach() + net[0](b))
        return
    for _ in range(2):
        net[2](net[0](a).detach() + net[0](b)).sum().backward()


def test_shallow_copies_of_a_layer_are_refused() -> None:
    net = network()
    for call in (lambda: copy.copy(net[0]), lambda: net[0]._replicate_for_data_parallel()):
        with pytest.raises((TypeError, RuntimeError), match=r"state"):
            call()
    assert copy.copy(net)[0] is net[0]


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("rule", [n for n in tt.rules.PRESETS if n != "rate"])
def test_training_goes_on_after_inference_mode(rule: str, backend: str) -> None:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])
    found = []
    xs = 3 * torch.rand(8, 3, 60, generator=torch.Generator().manual_seed(0))
    for mode in (torch.no_grad, torch.inference_mode):
        net = network(rule)
        tt.set_backend(net, backend)
        for _ in range(2):
            with mode():
                net(xs[0])
                tt.reset(net, torch.tensor([True, False, False]))
                tt.scan(net, xs[:2])
                tt.set_state(net, tt.get_state(net))
            with torch.inference_mode(mode is torch.inference_mode):
                made = xs.clone()  # inputs made there too
            (sum(net(x).square().sum() for x in made)).backward() if rule == "bptt" else learn(net, made)
        found.append([p.grad for p in net.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def learn(net: nn.Module, xs: torch.Tensor) -> None:
    for x in xs:
        net(x).square().sum().backward()
