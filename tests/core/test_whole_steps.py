"""A call that fails leaves the network as it was: rules, states and traces."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import tracetorch as tt

RULES = [name for name in tt.rules.PRESETS if name not in ("rate", "uoro")]  # what uoro has drawn is not taken back


class Poison(nn.Module):
    """A module that spoils what passes through it, as long as it is told to."""

    armed = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.nan if self.armed else x


def rule_of(name: str) -> tt.Rule:
    return tt.rules.ottt(approximate=True) if name == "ottt" else tt.rules.PRESETS[name]()


def network(rule: str, between: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    half_life = tt.Learnable(torch.linspace(2, 9, 70))
    net = nn.Sequential(
        tt.Layer(nn.Linear(60, 70), tt.LIF(half_life=half_life), recurrent=nn.Linear(70, 70, bias=False)),
        Poison() if between is None else between,
        tt.Layer(nn.Linear(70, 7), tt.LIF(half_life=3)),
        tt.Layer(nn.Linear(7, 2), tt.LI(half_life=6)),
    ).double()
    tt.set_rule(net, rule_of(rule))
    return net


def learn(net: nn.Module, xs: torch.Tensor, rule: str) -> list[torch.Tensor]:
    net.zero_grad()
    losses = [net(x).square().sum() for x in xs] if rule == "bptt" else []
    if losses:
        sum(losses).backward()
    else:
        for x in xs:
            net(x).square().sum().backward()
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_step_that_fails_in_a_later_layer_leaves_the_earlier_ones(rule: str, before: int, backend: str) -> None:
    xs = torch.rand(before + 4, 3, 60, dtype=torch.float64)
    grads = []
    for fails in (False, True):
        net = network(rule)
        tt.reset(net)
        tt.set_backend(net, backend)
        learn(net, xs[:before], rule) if rule != "bptt" else [net(x) for x in xs[:before]]
        if fails:
            saved = tt.get_state(net)
            net[1].armed = True
            for _ in range(2):
                with pytest.raises(ValueError, match="NaN or infinity"):
                    net(xs[0] + 1)
            net[1].armed = False
            after = tt.get_state(net)
            assert saved.keys() == after.keys()
            for k in saved:
                torch.testing.assert_close(saved[k], after[k], rtol=1e-12, atol=1e-12)
        grads.append(learn(net, xs[before:], rule))
    assert sum(float(g.abs().sum()) for g in grads[0]) > 0
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_outputs_of_a_step_that_was_taken_back_are_refused() -> None:
    net = network("trace")
    net(torch.rand(3, 60, dtype=torch.float64))
    h = net[0](torch.rand(3, 60, dtype=torch.float64))
    with pytest.raises(ValueError, match="takes inputs"):
        net[2](h[:, :5])
    with pytest.raises(RuntimeError, match="was taken back"):
        net[2](h)
    net(torch.rand(3, 60, dtype=torch.float64)).sum().backward()


def test_a_loop_over_the_layers_is_whole_or_nothing_too() -> None:
    net = network("drtrl", nn.Flatten())
    x = torch.rand(3, 60, dtype=torch.float64)
    for module in net:
        x = module(x)
    saved = tt.get_state(net)
    bad = net[1](net[0](torch.rand(3, 60, dtype=torch.float64)))
    with pytest.raises(ValueError, match="NaN"):
        net[3](net[2](bad) * torch.nan)
    assert all(torch.equal(v, saved[k]) for k, v in tt.get_state(net).items())


@pytest.mark.parametrize("size", [5, 70])
@pytest.mark.parametrize("bad", [torch.full((3, 60), torch.nan), torch.ones(3, 59)], ids=["nan", "shape"])
def test_a_first_bad_input_leaves_no_state(size: int, bad: torch.Tensor) -> None:
    layer = tt.Layer(nn.Linear(60, size), tt.LIF(half_life=4))
    for call in (layer, lambda x: tt.scan(layer, x.unsqueeze(0))):
        with pytest.raises(ValueError, match=r"NaN|takes inputs"):
            call(bad)
        assert layer.state is None and layer.core.stepper is None
    assert layer(torch.rand(5, 60)).shape == (5, size)


@pytest.mark.parametrize("started", [False, True])
def test_a_rule_that_one_layer_refuses_changes_no_layer(started: bool) -> None:
    net = nn.Sequential(
        tt.Layer(nn.Linear(5, 7), tt.LIF(half_life=4)),
        tt.Layer(nn.Linear(7, 3), tt.LIF(half_life=torch.tensor([2.0, 3.0, 4.0]))),
    )
    tt.set_rule(net, tt.rules.drtrl(feedback=tt.feedback.RandomFeedback()))
    if started:
        for _ in range(2):
            net(torch.rand(2, 5) * 3).sum().backward()
    saved, feedback = tt.get_state(net), net[0].feedback
    wrong: Any = {"0": tt.rules.sltt(), "1": tt.rules.drtrl}
    with pytest.raises(TypeError, match=r"rule must be a tt\.Rule"):
        tt.set_rule(net, wrong)
    if started:
        with pytest.raises(ValueError, match="cannot represent"):
            tt.set_rule(net, tt.rules.ottt())
    assert [layer.rule.name for layer in net] == ["drtrl", "drtrl"] and net[0].feedback is feedback
    after = tt.get_state(net)
    assert saved.keys() == after.keys() and all(torch.equal(saved[k], after[k]) for k in saved)


def test_a_function_that_makes_a_rule_is_no_rule() -> None:
    layer = tt.Layer(nn.Linear(5, 7), tt.LIF(half_life=4))
    maker: Any = tt.rules.eprop
    with pytest.raises(TypeError, match=r"write tt.rules.eprop\(\)"):
        layer.set_rule(maker)


class Branches(nn.Module):
    """Two layers side by side, of which one does not feed the other, and a readout of both."""

    def __init__(self) -> None:
        super().__init__()
        self.a = tt.Layer(nn.Linear(6, 7), tt.LIF(half_life=4))
        self.b = tt.Layer(nn.Linear(6, 7), tt.LIF(half_life=3))
        self.poison = Poison()
        self.readout = tt.Layer(nn.Linear(7, 2), tt.LI(half_life=6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.readout(self.a(x) + self.b(self.poison(x)))


def chain() -> nn.Sequential:
    return nn.Sequential(
        tt.Layer(nn.Linear(6, 7), tt.LIF(half_life=4)), Poison(), tt.Layer(nn.Linear(7, 2), tt.LI(half_life=6))
    )


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("make", [Branches, chain])
def test_branches_and_steps_without_a_graph_are_whole_or_nothing_too(make: Any, grad: bool, backend: str) -> None:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])
    found = []
    xs = 4 * torch.rand(9, 3, 6, generator=torch.Generator().manual_seed(0))
    for fails in (False, True):
        torch.manual_seed(0)
        net = make()
        tt.set_rule(net, tt.rules.drtrl())
        tt.reset(net)
        tt.set_backend(net, backend)
        poison = next(m for m in net.modules() if isinstance(m, Poison))
        ys = []
        for t, x in enumerate(xs):
            if fails and t in (0, 1, 4, 7):
                poison.armed, saved = True, tt.get_state(net)
                with torch.set_grad_enabled(grad), pytest.raises(ValueError, match="NaN"):
                    net(x + 1)
                poison.armed, after = False, tt.get_state(net)
                assert saved.keys() == after.keys() and all(torch.equal(v, after[k]) for k, v in saved.items())
            with torch.set_grad_enabled(grad):
                ys.append(tt.scan(net, x.expand(2, -1, -1), out="last") if t == 5 else net(x))
            if grad:
                ys[-1].sum().backward()
        found.append([torch.stack(ys).detach(), *(p.grad for p in net.parameters() if p.grad is not None)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def layers_of(rule: str, kind: str = "chain") -> nn.Module:
    torch.manual_seed(0)
    net: nn.Module = nn.Sequential(
        tt.Layer(nn.Linear(4, 6), tt.LIF(half_life=5)),
        tt.Layer(nn.Linear(6, 6), tt.ALIF(half_life=5, adaptation_half_life=9, reset=tt.HardReset())),
        tt.Layer(nn.Linear(6, 2), tt.LI(half_life=5)),
    )
    if kind == "branch":
        net = Branch(net)
    tt.set_rule(net, rule_of(rule))
    tt.reset(net)
    return net


class Branch(nn.Module):
    """Two layers side by side under a readout, registered the other way round."""

    def __init__(self, parts: nn.Sequential) -> None:
        super().__init__()
        self.out, self.b, self.a = parts[2], parts[1], parts[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        return self.out(h + self.b(h))


def same_state(net: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    after = tt.get_state(net)
    return after.keys() == before.keys() and all(torch.equal(v, before[k]) for k, v in after.items())


REFUSED: dict[str, Any] = {
    "step": lambda net, x: net(x),
    "scan": lambda net, x: tt.scan(net, torch.stack([x, x])),
    "last": lambda net, x: tt.scan(net, torch.stack([x, x]), "last"),
    "rows": lambda net, x: tt.scan(net, torch.stack([x, x]), lengths=[1, 2, 2]),
}


@pytest.mark.parametrize("kind", ["chain", "branch"])
@pytest.mark.parametrize("part", [0, -1])
@pytest.mark.parametrize("how", list(REFUSED))
@pytest.mark.parametrize("steps", [1, 3])
def test_layers_out_of_step_are_refused_and_stay_as_they_are(steps: int, how: str, part: int, kind: str) -> None:
    net, x = layers_of("cascade", kind), 3 * torch.rand(3, 4)
    for _ in range(steps):
        net(x).sum().backward()
    tt.reset(list(tt.layers(net).values())[part])
    for call in (REFUSED[how], lambda net, x: net(x * torch.nan), lambda net, x: tt.set_rule(net, {"no": "rule"})):
        before = tt.get_state(net)
        with pytest.raises((RuntimeError, ValueError, KeyError)):
            call(net, x)
        assert same_state(net, before)


@pytest.mark.parametrize("rule", ["cascade", "drtrl"])
@pytest.mark.parametrize("how", [*REFUSED, "nothing"])
def test_what_is_measured_and_shown_by_a_call_that_fails_is_taken_back(how: str, rule: str) -> None:
    for kind in ("chain", "branch"):
        net, x = layers_of(rule, kind), 3 * torch.rand(3, 4)
        for started in (False, True):
            before = tt.get_state(net)
            if how != "nothing":
                out = list(tt.layers(net).values())[2 if kind == "chain" else 0]
                weight = out.synapse.weight.detach().clone()
                out.synapse.register_parameter("weight", nn.Parameter(weight[:, :5]))
                with pytest.raises(ValueError, match="takes inputs"):
                    REFUSED[how](net, x)
                out.synapse.register_parameter("weight", nn.Parameter(weight))
            assert same_state(net, before)
            if not started:
                for _ in range(9):
                    net(x).sum().backward()


def test_a_step_of_one_layer_alone_is_not_taken_back_with_the_next_step_of_all() -> None:
    net, x = layers_of("drtrl"), torch.rand(3, 4)
    for alone, given in ((2, 6), (0, 4)):
        net(x)
        net[alone](torch.rand(3, given))  # type: ignore[index]
        for _ in range(2):
            before = tt.get_state(net)
            with pytest.raises(ValueError, match="NaN"):
                net(x * torch.nan)
            assert same_state(net, before)
            net(x)


@pytest.mark.parametrize("reset", [False, True])
def test_a_circle_is_refused_and_the_network_goes_on(reset: bool) -> None:
    torch.manual_seed(0)
    layers = [tt.Layer(nn.Linear(4, 4), tt.LIF(half_life=5)) for _ in range(2)]
    net, x = nn.Sequential(*layers), 3 * torch.rand(3, 4)
    y = net(x)
    before = tt.get_state(net)
    with pytest.raises(RuntimeError, match=r"circle|filters a layer"):
        net(y)
    assert same_state(net, before)
    if reset:
        tt.reset(net)
    other = nn.Sequential(*(tt.Layer(nn.Linear(4, 4), tt.LIF(half_life=5)) for _ in range(2)))
    other.load_state_dict(net.state_dict())
    if not reset:
        other(x)
    for one in (net, other):
        one(x).sum().backward()
        one(x).sum().backward()
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert p.grad is not None and p.grad.any() and torch.allclose(p.grad, q.grad, rtol=1e-5)
