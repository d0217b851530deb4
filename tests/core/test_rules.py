"""Rules are frozen values; impossible combinations cannot be built."""

import dataclasses

import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.traces import Factor, Full, Graph, NoTrace, Pre, Timing


def test_presets_are_frozen_values() -> None:
    assert set(tt.rules.PRESETS) == set(tt.rules.FACTS)
    for name, preset in tt.rules.PRESETS.items():
        rule = preset()
        assert rule.name == name and rule == preset() and hash(rule) == hash(preset())
        with pytest.raises(dataclasses.FrozenInstanceError):
            rule.name = "other"


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"weight": Graph(), "input": "window", "window": "call"}, "whole graph"),
        ({"weight": Full(), "input": "window", "window": "step"}, "needs window='call'"),
        ({"weight": Full(), "input": "psi", "window": "call"}, "instantaneous"),
        ({"weight": Factor(), "input": "psi", "window": "step"}, "goes with input='trace'"),
        ({"weight": Pre(), "input": "trace", "window": "step"}, "goes with input='window' or 'psi' or 'gain'"),
        ({"weight": Timing(0.7, 0.2), "input": "window", "window": "call"}, "goes with input='psi' or 'gain'"),
        (
            {"weight": Full(), "input": "window", "window": "call", "feedback": tt.feedback.RandomFeedback()},
            "autograd's",
        ),
        (
            {"weight": NoTrace(), "input": "psi", "window": "step", "above": tt.rules.ReadoutMemory(0.9)},
            "filters an eligibility",
        ),
        ({"weight": Full(), "input": "psi", "window": "step", "above": tt.rules.AllMemory()}, "take both"),
        ({"weight": Full(), "input": "cascade", "window": "step"}, "take both"),
        ({"weight": Factor(), "input": "trace", "window": "sequence"}, "uniform=True"),
        ({"weight": Factor(uniform=True, decay=0.9), "input": "trace", "window": "step"}, "either uniform"),
        ({"weight": Full(), "input": "sideways", "window": "step"}, "'psi', 'gain'"),
        ({"weight": Full(), "input": "psi", "window": "day"}, "'step', 'call'"),
    ],
)
def test_impossible_combinations_say_why(parts, why) -> None:
    with pytest.raises(ValueError, match=why):
        tt.Rule(name="mine", **parts)


@pytest.mark.parametrize(
    "neuron",
    [
        tt.LIF(half_life=torch.linspace(2, 9, 7)),
        tt.LIF(half_life=3, reset=tt.HardReset()),
        tt.ALIF(half_life=3, adaptation_half_life=9),
        tt.DiagonalRecurrent(tt.LIF(half_life=3), 7),
    ],
)
def test_a_presynaptic_trace_refuses_what_it_cannot_represent(neuron) -> None:
    layer = tt.Layer(nn.Linear(5, 7), neuron, rule=tt.rules.ottt())
    with pytest.raises(ValueError, match=r"cannot represent.*drtrl.*approximate=True"):
        layer(torch.ones(1, 5))
    layer.set_rule(tt.rules.ottt(approximate=True))
    layer(torch.ones(1, 5)).sum().backward()


def test_eprop_wants_one_decay_of_its_readout() -> None:
    model = nn.Sequential(
        tt.Layer(nn.Linear(5, 7), tt.LIF(half_life=4)),
        tt.Layer(nn.Linear(7, 2), tt.LI(half_life=torch.tensor([3.0, 6.0]))),
    )
    tt.set_rule(model, tt.rules.eprop())
    with pytest.raises(ValueError, match="one decay"):
        model(torch.ones(1, 5))
    tt.set_rule(model, tt.rules.eprop(kappa=0.8))
    tt.reset(model)
    model(torch.ones(1, 5)).sum().backward()


def test_random_feedback_is_a_parameter_without_gradient() -> None:
    layer = tt.Layer(nn.Linear(5, 7), tt.LIF(half_life=4), rule=tt.rules.ottt(feedback=tt.feedback.RandomFeedback()))
    assert layer.feedback.shape == layer.synapse.weight.shape and not layer.feedback.requires_grad
    assert "feedback" in layer.state_dict()
    layer.set_rule(tt.rules.ottt())
    assert layer.feedback is None


def test_random_feedback_is_the_way_back() -> None:
    below, above = (
        tt.Layer(nn.Linear(5, 7), tt.LIF(half_life=4)),
        tt.Layer(nn.Linear(7, 2), tt.LI(half_life=6)),
    )
    model = nn.Sequential(below, above)
    tt.set_rule(model, tt.rules.ottt(feedback=tt.feedback.RandomFeedback()))
    xs = torch.rand(9, 3, 5) * 2
    tt.scan(model, xs).sum().backward()
    random = below.synapse.weight.grad.clone()
    with torch.no_grad():
        above.feedback.copy_(above.synapse.weight)
    tt.reset(model)
    model.zero_grad()
    tt.scan(model, xs).sum().backward()
    aligned = below.synapse.weight.grad.clone()
    tt.set_rule(model, tt.rules.ottt())
    tt.reset(model)
    model.zero_grad()
    tt.scan(model, xs).sum().backward()
    assert torch.equal(aligned, below.synapse.weight.grad)
    assert not torch.allclose(random, aligned)
