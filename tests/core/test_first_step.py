"""A network that was never reset, or reset in parts, shows in its first step which layers feed which."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt

STEPS, BATCH = 14, 3
RULES = {"full": tt.rules.cascade(pairs=None), "pairs": tt.rules.cascade(pairs=3), "default": None}


def lif(**options: Any) -> tt.LIF:
    return tt.LIF(half_life=5, **options)


class Net(nn.Module):
    """Layers that are registered from the last to the first, and run as a form says."""

    def __init__(self, form: str, layer: Callable[..., tt.Layer]) -> None:
        super().__init__()
        self.form = form
        self.other, self.out = layer(9, 3, tt.LI(half_life=3)), layer(9, 2, tt.LI(half_life=9))
        self.c, self.b, self.a = layer(9, 9, lif(reset=tt.HardReset())), layer(9, 9, lif()), layer(6, 9, lif())

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        if self.form == "chain":
            return self.other(self.c(self.b(a)))
        if self.form == "residual":
            return self.out(self.c(a + self.b(a)))
        if self.form == "branches":
            return self.out(self.b(a) + self.c(a))
        b = self.b(a)
        return torch.cat([self.out(b), self.other(b)], 1)


def network(form: str, rule: tt.Rule | None) -> nn.Module:
    torch.manual_seed(0)

    def layer(inputs: int, units: int, neuron: tt.Neuron) -> tt.Layer:
        made = tt.Layer(nn.Linear(inputs, units), neuron, rule=rule)
        nn.init.normal_(made.synapse.weight, 0.15, 0.6)
        return made

    return Net(form, layer).double()


def inputs() -> Tensor:
    return (torch.rand(STEPS, BATCH, 6, generator=torch.Generator().manual_seed(1)) < 0.4).double()


def gradients(net: nn.Module) -> tuple[dict[str, Tensor], list[float]]:
    """Return what losses at some steps give, and how often each spiking layer fires."""
    fired: dict[str, list[float]] = {}
    for name, layer in tt.layers(net).items():
        if not isinstance(layer.neuron, tt.Readout):
            row = fired[name] = []
            layer.register_forward_hook(lambda _, __, z, row=row: row.append(float(z.detach().mean())))
    for t, x in enumerate(inputs()):
        y = net(x)
        if t % 4 == 3:
            (y.square() + y * torch.linspace(-1, 1, y.shape[1])).sum().backward()
    rates = [sum(row) / len(row) for row in fired.values() if row]
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}, rates


def in_parts(net: nn.Module) -> None:
    for layer in tt.layers(net).values():
        tt.reset(layer)


WAYS: dict[str, Callable[[nn.Module], None]] = {"never": lambda net: None, "in parts": in_parts}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", ["chain", "residual", "branches", "heads"])
def test_the_gradient_is_that_after_a_reset(form: str, rule: str, way: str) -> None:
    net = network(form, RULES[rule])
    tt.reset(net)
    expected, rates = gradients(net)
    assert all(0.03 < rate < 0.9 for rate in rates), rates
    net = network(form, RULES[rule])
    WAYS[way](net)
    found, _ = gradients(net)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    tt.reset(net)  # the next sequence knows
    net.zero_grad()
    again, _ = gradients(net)
    assert again.keys() == expected.keys()
    for layer in tt.layers(net).values():
        assert layer.core.above.executed or isinstance(layer.neuron, tt.Readout) or "chain" not in form


@pytest.mark.parametrize("form", ["chain", "residual"])
def test_what_is_learned_is_not_nothing(form: str) -> None:
    found = [gradients(network(form, rule))[0]["a.synapse.weight"] for rule in (None, tt.rules.drtrl())]
    assert float((found[0] - found[1]).norm() / found[0].norm()) > 0.05


def test_networks_that_were_reset_apart_are_one_where_they_run_as_one() -> None:
    whole = network("chain", None)
    tt.reset(whole)
    expected, _ = gradients(whole)

    class Two(nn.Module):
        def __init__(self, net: Any) -> None:
            super().__init__()
            self.below, self.above = nn.Sequential(net.a, net.b), nn.Sequential(net.c, net.other)

        def forward(self, x: Tensor) -> Tensor:
            return self.above(self.below(x))

    net = network("chain", None)
    both = Two(net)
    tt.reset(both.below)
    tt.reset(both.above)
    gradients(both)
    for name, value in expected.items():
        assert torch.equal(dict(net.named_parameters())[name].grad, value), name


def test_steps_without_a_graph_before_it_show_nothing() -> None:
    net = network("chain", None)
    with torch.no_grad():
        for x in inputs()[:3]:
            net(x)
    with pytest.raises(RuntimeError, match=r"tt.reset\(net\)"):
        net(inputs()[3])


def test_a_failing_first_step_leaves_nothing() -> None:
    net: Any = network("chain", None)
    whole = partial(torch.allclose, rtol=0, atol=0)
    expected, _ = gradients(network("chain", None))
    bad = inputs()[0].clone()
    bad[0, 0] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        net(bad)
    assert all(layer.state is None for layer in tt.layers(net).values())
    found, _ = gradients(net)
    assert all(whole(found[name], value) for name, value in expected.items())


class Heads(nn.Module):
    """An actor and a critic in one module, registered one after the other."""

    def __init__(self, rules: dict[str, tt.Rule]) -> None:
        super().__init__()
        torch.manual_seed(3)
        for name, inputs, units, neuron in (
            ("actor", 6, 9, lif()),
            ("choice", 9, 2, tt.LI(half_life=4)),
            ("critic", 6, 9, lif()),
            ("value", 9, 1, tt.LI(half_life=9)),
        ):
            setattr(self, name, tt.Layer(nn.Linear(inputs, units), neuron, rule=rules.get(name)))
            nn.init.normal_(getattr(self, name).synapse.weight, 0.15, 0.6)
        self.double()
        self.inputs = 6

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.choice(self.actor(x)), self.value(self.critic(x[:, : self.inputs]))], 1)


def test_an_actor_beside_a_critic_is_never_filtered_by_it() -> None:
    net = Heads({})
    tt.reset(net)
    expected, _ = gradients(net)
    late = Heads({})
    tt.reset(late)
    with torch.no_grad():
        late(inputs()[0])
    late(inputs()[0])
    with pytest.raises(RuntimeError, match=r"tt.reset\(net\)"):
        late(inputs()[1])
    late.zero_grad()
    tt.reset(late)
    found, _ = gradients(late)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_a_first_step_that_fails_shows_nothing() -> None:
    expected, _ = gradients(Heads({}))
    net = Heads({})
    tt.reset(net)
    net.inputs = 5
    with pytest.raises(ValueError, match="takes inputs"):
        net(inputs()[0])
    net.inputs = 6
    found, _ = gradients(net)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


class Fork(nn.Module):
    """Two layers, of which the upper feeds one head or two."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        torch.manual_seed(4)
        rule = tt.rules.drtrl()
        self.a = tt.Layer(nn.Linear(6, 9), lif(), rule=tt.rules.cascade())
        self.b = tt.Layer(nn.Linear(9, 9), lif(), rule=rule)
        self.heads = nn.ModuleList(tt.Layer(nn.Linear(9, 2), tt.LI(half_life=h), rule=rule) for h in (4, 9)[:heads])
        for layer in tt.layers(self).values():
            nn.init.normal_(layer.synapse.weight, 0.15, 0.6)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        z = self.b(self.a(x))
        return torch.cat([head(z) for head in self.heads], 1)[:, :2]


@pytest.mark.parametrize("reset", [True, False])
def test_what_layers_under_other_rules_feed_is_seen_too(reset: bool) -> None:
    found = []
    for heads in (1, 2):
        net = Fork(heads)
        net.load_state_dict(Fork(1).state_dict(), strict=False)
        if reset:
            tt.reset(net)
        found.append(gradients(net)[0]["a.synapse.weight"])
    assert torch.allclose(found[0], found[1], rtol=0, atol=1e-12)


def test_a_state_of_a_network_that_was_never_reset_fits_another() -> None:
    net, other = network("chain", None), network("chain", None)
    for x in inputs()[:4]:
        net(x)
    tt.set_state(other, tt.get_state(net))
    for one in (net, other):
        tt.reset(one)
    found, _ = gradients(other)
    expected, _ = gradients(net)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
