"""State: reset, masks, saving, moving, copying, and what no_grad does."""

import copy

import pytest
import torch
from torch import nn

import tracetorch as tt

RULES = ["trace", "eprop", "drtrl", "ottt", "traced_bptt", "tbptt", "sltt"]


def net(**neuron) -> nn.Sequential:
    torch.manual_seed(0)
    lif = tt.LIF(half_life=tt.Learnable(torch.linspace(2, 9, 7)), **neuron)
    return nn.Sequential(
        tt.Layer(nn.Linear(5, 7), lif, recurrent=nn.Linear(7, 7, bias=False)),
        tt.Layer(nn.Linear(7, 2), tt.LI(half_life=6)),
    ).double()


def rule_for(name: str) -> tt.Rule:
    return tt.rules.ottt(approximate=True) if name == "ottt" else tt.rules.PRESETS[name]()


def grads(model: nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("rule", RULES)
def test_a_restored_stream_goes_on_bit_for_bit(rule) -> None:
    xs = torch.rand(12, 3, 5, dtype=torch.float64)
    model = net()
    tt.set_rule(model, rule_for(rule))
    opt = torch.optim.Adam(model.parameters(), lr=0.01)

    def learn(m, o, part):
        outs = []
        for x in part:
            y = m(x)
            y.square().sum().backward()
            o.step()
            o.zero_grad()
            outs.append(y.detach())
        return torch.stack(outs)

    learn(model, opt, xs[:6])
    other = net()
    tt.set_rule(other, rule_for(rule))
    other.load_state_dict(model.state_dict())
    again = torch.optim.Adam(other.parameters(), lr=0.01)
    again.load_state_dict(copy.deepcopy(opt.state_dict()))
    tt.set_state(other, tt.get_state(model))
    assert torch.equal(learn(model, opt, xs[6:]), learn(other, again, xs[6:]))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_get_state_between_forward_and_backward_changes_nothing(rule) -> None:
    xs = torch.rand(4, 3, 5, dtype=torch.float64)
    found = []
    for look in (False, True):
        model = net()
        tt.set_rule(model, rule_for(rule))
        for x in xs:
            y = model(x)
            if look:
                tt.get_state(model)
            y.sum().backward()
        found.append(grads(model))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_a_copy_goes_its_own_way(rule) -> None:
    model = net()
    tt.set_rule(model, rule_for(rule))
    model(torch.ones(2, 5).double()).sum().backward()
    twin = copy.deepcopy(model)
    assert torch.equal(model(torch.ones(2, 5).double()), twin(torch.ones(2, 5).double()))
    tt.reset(twin)
    assert model[0].state is not None and twin[0].state is None


def test_state_follows_the_module_and_stays_out_of_state_dict() -> None:
    model = net()
    model(torch.ones(2, 5).double())
    assert not any("memory" in k or "state" in k for k in model.state_dict())
    model.float()
    assert model[0].state.v.dtype == torch.float32
    model(torch.ones(2, 5)).sum().backward()


def test_no_grad_advances_states_and_drops_traces() -> None:
    model, fresh = net(), net()
    xs = torch.rand(6, 3, 5, dtype=torch.float64)
    for m in (model, fresh):
        tt.set_rule(m, tt.rules.drtrl())
    for x in xs[:3]:
        model(x).sum().backward()
    model.zero_grad()
    with torch.no_grad():
        model(xs[3])
        for x in xs[:4]:
            fresh(x)
    assert torch.equal(model[0].state.v, fresh[0].state.v)
    model(xs[4]).sum().backward()
    fresh(xs[4]).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(grads(model), grads(fresh), strict=True))


def test_frozen_layers_pass_credit_on() -> None:
    model = nn.Sequential(
        tt.Layer(nn.Linear(5, 7), tt.LIF(half_life=4)),
        tt.Layer(nn.Linear(7, 7), tt.LIF(half_life=4)),
        tt.Layer(nn.Linear(7, 2), tt.LI(half_life=6)),
    )
    for rule in tt.rules.PRESETS.values():
        model[1].requires_grad_(True)
        found = []
        for frozen in (False, True):
            model[1].requires_grad_(not frozen)
            tt.set_rule(model, rule())
            tt.reset(model)
            model.zero_grad(set_to_none=True)
            torch.manual_seed(1)
            tt.scan(model, torch.rand(6, 3, 5) * 2).sum().backward()
            found.append(model[0].synapse.weight.grad.clone())
            assert (model[1].synapse.weight.grad is None) == frozen
        assert torch.equal(*found)


def test_set_state_names_what_does_not_fit() -> None:
    model = net()
    model(torch.ones(2, 5).double())
    saved = tt.get_state(model)
    with pytest.raises(KeyError, match="'9'"):
        tt.set_state(model, {"9/s.0": torch.zeros(2, 7)})
    with pytest.raises(ValueError, match="1 state variables, the state gives 2"):
        tt.set_state(model, saved | {"0/s.1": saved["0/s.0"]})


def test_masks_of_a_wrong_shape_are_refused() -> None:
    model = net()
    model(torch.ones(2, 5).double())
    with pytest.raises(ValueError, match="3 rows"):
        tt.reset(model, torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="one entry per row"):
        tt.reset(model, torch.zeros(2, 1, dtype=torch.bool))


def test_tied_layers_share_parameters_and_not_state() -> None:
    first = tt.Layer(nn.Linear(5, 5), tt.LIF(half_life=4))
    model = nn.Sequential(first, first.tied())
    tt.scan(model, torch.rand(6, 3, 5) * 3).sum().backward()
    assert len(list(model.parameters())) == 2
    assert not torch.equal(model[0].state.v, model[1].state.v)


def test_rules_by_name() -> None:
    model = net()
    tt.set_rule(model, {"0": tt.rules.drtrl(), "1": tt.rules.ottt()})
    assert model[0].rule.name == "drtrl" and model[1].rule.name == "ottt"
    with pytest.raises(KeyError, match=r"no layer is named 'x'"):
        tt.set_rule(model, {"x": tt.rules.trace()})
    with pytest.raises(TypeError, match=r"tt\.Rule"):
        tt.set_rule(model, {"0": "trace"})
    with pytest.raises(ValueError, match=r"no tt\.Layer"):
        tt.set_rule(nn.Linear(2, 2), tt.rules.trace())


def test_reading_the_state_changes_nothing_in_a_network_that_was_never_reset() -> None:
    xs, found = torch.rand(6, 3, 5, dtype=torch.float64), []
    for reads in (False, True):
        model = net()
        for x in xs:
            model.zero_grad()
            model(x).square().sum().backward()
            if reads:
                tt.get_state(model)
        found.append(grads(model))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
