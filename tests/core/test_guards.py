"""What would be another gradient in silence raises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.rules.above import Above
from tracetorch.steps import unfit
from tracetorch.traces import Eligibility


def network(rule: tt.rules.Rule | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    hidden = tt.Layer(nn.Linear(3, 5), tt.LIF(half_life=4), rule=rule)
    return nn.Sequential(hidden, tt.Layer(nn.Linear(5, 2), tt.LI(half_life=6), rule=rule))


@pytest.mark.parametrize("rule", [tt.rules.eprop(), tt.rules.otpe()], ids=str)
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_a_rule_that_filters_in_a_network_that_its_layers_do_not_know_raises(rule: Any, backend: str) -> None:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])
    net = network(rule)
    tt.set_backend(net, backend)
    for layer in net:
        layer.core.above = Above()
    with pytest.raises(RuntimeError, match=r"tt.reset\(net\)"):
        net(torch.ones(2, 3))


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("depth", [1, 3])
def test_trace_learns_its_network_from_the_first_step(depth: int, backend: str) -> None:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])
    found = []
    for linked in (True, False):
        torch.manual_seed(0)
        hidden = [tt.Layer(nn.Linear(6, 6), tt.LIF(half_life=4)) for _ in range(depth)]
        net = nn.Sequential(*hidden, tt.Layer(nn.Linear(6, 2), tt.LI(half_life=9))).double()
        tt.set_rule(net, tt.rules.trace())
        xs = (torch.rand(12, 3, 6) < 0.5).double()
        tt.init_firing(net, xs, rate=0.2)
        for layer in net:
            layer.core.above = Above()
        if linked:
            tt.reset(net)
        tt.set_backend(net, backend)
        for x in xs:
            net(x).square().sum().backward()
        found.append([p.grad for p in net.parameters()])
        filters = [layer.core.state.trace.numbers(layer.neuron, xs[0]).filter for layer in hidden]
        assert all(float(f.a) == float(net[-1].neuron.beta) for f in filters)
    for got, want in zip(*found, strict=True):
        assert torch.equal(got, want)


class Odd(nn.Module):
    """Registers its readouts before the layer that feeds them."""

    def __init__(self, rule: tt.rules.Rule, *half_lives: float) -> None:
        super().__init__()
        self.heads = nn.ModuleList(tt.Layer(nn.Linear(5, 2), tt.LI(half_life=h), rule=rule) for h in half_lives)
        self.hidden = tt.Layer(nn.Linear(3, 5), tt.LIF(half_life=4), rule=rule)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.hidden(x)
        return sum(head(z) for head in self.heads)


@pytest.mark.parametrize("rule", [tt.rules.eprop(), tt.rules.trace()], ids=str)
@pytest.mark.parametrize("scanned", [True, False])
def test_a_readout_registered_before_the_layer_that_feeds_it_raises(rule: Any, scanned: bool) -> None:
    net, xs = Odd(rule, 6), torch.ones(4, 2, 3)
    tt.reset(net)
    with pytest.raises(RuntimeError, match="filters a layer by what it feeds"):
        tt.scan(net, xs) if scanned else net(xs[0])


@pytest.mark.parametrize("reset", [True, False])
def test_two_heads_of_other_decays_raise_under_trace_and_two_of_the_same_do_not(reset: bool) -> None:
    def run(net: nn.Module) -> None:
        if reset:
            tt.reset(net)
        net(torch.ones(2, 3)).sum().backward()

    def heads(*half_lives: float) -> nn.Module:
        net = Odd(tt.rules.trace(), *half_lives)
        ordered = nn.ModuleDict({"hidden": net.hidden, "heads": net.heads})
        ordered.forward = net.forward  # type: ignore[method-assign]
        return ordered

    run(heads(6, 6))
    with pytest.raises(RuntimeError, match="several heads"):
        run(heads(6, 30))


def test_a_layer_on_its_own_needs_no_network() -> None:
    layer = tt.Layer(nn.Linear(3, 5), tt.LIF(half_life=4))
    layer(torch.ones(2, 3)).sum().backward()
    assert layer.synapse.weight.grad is not None


def test_a_readout_of_several_decays_is_no_filter() -> None:
    net = nn.Sequential(
        tt.Layer(nn.Linear(3, 5), tt.LIF(half_life=4)),
        tt.Layer(nn.Linear(5, 2), tt.LI(half_life=torch.tensor([3.0, 9.0]))),
    )
    tt.set_rule(net, tt.rules.trace())
    with pytest.raises(ValueError, match=r"decay=\.\.\."):
        tt.scan(net, torch.ones(4, 2, 3))
    tt.set_rule(net, tt.rules.trace(decay=0.9))
    tt.scan(net, torch.ones(4, 2, 3)).sum().backward()


def test_trace_without_a_leaky_readout_is_exact_for_shared_decays() -> None:
    torch.manual_seed(0)
    found = []
    for rule in (tt.rules.trace(), tt.rules.bptt()):
        torch.manual_seed(0)
        net = nn.Sequential(tt.Layer(nn.Linear(6, 9), tt.LIF(half_life=4)), nn.Linear(9, 2)).double()
        xs = (torch.rand(20, 3, 6) < 0.4).double()
        tt.init_firing(net, xs, rate=0.2)
        tt.set_rule(net, rule)
        tt.scan(net, xs).square().sum().backward()
        found.append([p.grad for p in net.parameters()])
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_eprop_in_a_network_that_its_layers_know_learns() -> None:
    net = network(tt.rules.eprop())
    tt.reset(net)
    net(torch.ones(2, 3)).sum().backward()
    assert net[0].synapse.weight.grad is not None


@pytest.mark.parametrize("rule", [tt.rules.eprop(kappa=0.5), tt.rules.drtrl(), tt.rules.trace()], ids=str)
def test_rules_that_need_no_readout_do_not(rule: tt.rules.Rule) -> None:
    net = network(rule)
    net(torch.ones(2, 3)).sum().backward()
    assert net[0].synapse.weight.grad is not None


def reset_by_parts(net: nn.Sequential) -> None:
    for layer in net:
        tt.reset(layer)


def reset_in_another_order(net: nn.Sequential) -> None:
    tt.reset(nn.Sequential(net[1], net[0]))


def reset_under_another_head(net: nn.Sequential) -> None:
    tt.reset(nn.Sequential(net[0], tt.Layer(nn.Linear(5, 2), tt.LI(half_life=30))))
    tt.reset(net[1])


@pytest.mark.parametrize("told", [reset_by_parts, reset_in_another_order, reset_under_another_head])
@pytest.mark.parametrize("between", [nn.Identity(), nn.Flatten()], ids=["directly", "through a module"])
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_eprop_that_was_told_another_network_raises(told: Any, between: nn.Module, backend: str) -> None:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])
    net = network(tt.rules.eprop())
    tt.set_backend(net, backend)
    told(net)
    with pytest.raises(RuntimeError, match="filters a layer by what it feeds"):
        net[1](between(net[0](torch.ones(2, 3))))
    tt.reset(net)
    net[1](between(net[0](torch.ones(2, 3)))).sum().backward()


def test_eprop_under_two_heads_of_different_decay_raises() -> None:
    net = network(tt.rules.eprop())
    other = tt.Layer(nn.Linear(5, 2), tt.LI(half_life=30), rule=tt.rules.eprop())
    tt.reset(nn.ModuleList([*net, other]))
    z = net[0](torch.ones(2, 3))
    net[1](z)
    with pytest.raises(RuntimeError, match="filters a layer by what it feeds"):
        other(z)


def test_values_without_gradients_need_no_network() -> None:
    with torch.no_grad():
        assert network(tt.rules.eprop())(torch.ones(2, 3)).shape == (2, 2)


@pytest.mark.parametrize("name", sorted(tt.rules.PRESETS))
@pytest.mark.parametrize("steps", [1, 4])
def test_second_derivatives_raise(name: str, steps: int) -> None:
    net = network(tt.rules.PRESETS[name]())
    xs = torch.ones(4, 2, 3, requires_grad=True)
    loss = tt.scan(net, xs[:steps]).sum()
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(loss, xs, create_graph=True)


def test_second_derivatives_of_compiled_steps_raise() -> None:
    pytest.importorskip("numba")
    net = network(tt.rules.drtrl())
    tt.set_backend(net, "numba")
    x = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(net(x).sum(), x, create_graph=True)


class Another(Eligibility):
    """A kind of trace of which no kernel knows, although it is made of one that kernels know."""


def test_a_kind_of_trace_that_no_kernel_knows_is_refused() -> None:
    assert "no kernel knows" in unfit(Another("psi"))
    assert unfit(Eligibility("psi")) == ""
