"""Leaky integrators in closed form are those of autograd; an agent without memory; Adam along a trace."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import tracetorch as tt
from rl import nets
from rl.nets import INPUTS, weights
from tracetorch.rl.body import AutogradBody
from tracetorch.rl.leaky import LeakyBody, is_leaky

live = partial(nets.live, scale=1.0)


def agent(rule=tt.rules.drtrl, *, normalized: bool = True, rows: int = 1) -> tt.rl.ActorCritic:
    torch.manual_seed(0)
    neuron = tt.LI(tau=tt.Learnable(torch.linspace(1.0, 9.0, 6)), normalized=normalized)
    net = nn.Sequential(tt.Layer(nn.Linear(INPUTS, 6), neuron), nn.Linear(6, 3)).double()
    tt.set_rule(net, rule())
    senses = tt.rl.Senses(rows=rows, dtype=torch.float64)
    return tt.rl.ActorCritic(net, tt.rl.Categorical(2), entropy=0.05, senses=senses, step=tt.rl.FixedStep(0.03))


@pytest.mark.parametrize("rule", [tt.rules.drtrl, tt.rules.sltt])
@pytest.mark.parametrize("normalized", [True, False])
def test_it_is_the_same_agent(rule, normalized):
    plain, closed = agent(rule, normalized=normalized), agent(rule, normalized=normalized)
    closed.compile()
    assert isinstance(closed.body, LeakyBody)
    first = weights(plain)
    np.testing.assert_allclose(live(closed, range(50)), live(plain, range(50)), rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(weights(closed), weights(plain), rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(closed.trace.value, plain.trace.value, rtol=1e-10, atol=1e-13)
    moved = (weights(plain) - first).abs()
    assert bool((moved > 0).all())  # time constants too


@pytest.mark.parametrize("rule", [tt.rules.drtrl, tt.rules.sltt])
def test_it_takes_over_in_mid_episode_and_gives_back(rule):
    plain, closed = agent(rule), agent(rule)
    live(plain, range(40))
    live(closed, range(12))
    closed.compile()
    live(closed, range(12, 24))
    back = agent(rule)
    back.load_state_dict(copy.deepcopy(closed.state_dict()))
    live(back, range(24, 40))
    torch.testing.assert_close(weights(back), weights(plain), rtol=1e-9, atol=1e-12)


def test_it_goes_on_bit_for_bit():
    whole, again = agent(), agent()
    whole.compile()
    again.compile()
    live(whole, range(21))
    saved = copy.deepcopy(whole.state_dict())
    live(whole, range(21, 40))
    live(again, range(3))
    again.load_state_dict(saved)
    live(again, range(21, 40))
    assert torch.equal(weights(again), weights(whole)) and torch.equal(again.trace.value, whole.trace.value)


def test_what_does_not_fit_is_left_to_others():
    shared = nn.Sequential(tt.Layer(nn.Linear(2, 3), tt.LI(tau=tt.Learnable(3.0))), nn.Linear(3, 3))
    fixed = nn.Sequential(tt.Layer(nn.Linear(2, 3), tt.LI(tau=3.0)), nn.Linear(3, 3))
    spiking = nn.Sequential(tt.Layer(nn.Linear(2, 3), tt.LIF(tau=tt.Learnable(3.0, shape=(3,)))), nn.Linear(3, 3))
    assert not any(is_leaky(net) for net in (shared, fixed, spiking, nn.Linear(2, 3)))
    with pytest.raises(ValueError, match="drtrl and sltt"):
        agent(tt.rules.trace).compile()
    with pytest.raises(ValueError, match="one row"):
        agent(rows=2).compile()
    one = agent()
    one.compile()
    with pytest.raises(RuntimeError, match="forward before credit"):
        one.body.credit(one.trace, torch.zeros(1, 3, dtype=torch.float64))


@pytest.mark.parametrize("closed", [False, True])
def test_without_memory_nothing_of_the_past_is_left(closed):
    one = agent()
    if closed:
        one.compile()
    one.without_memory()
    xs = torch.randn(5, 1, INPUTS, dtype=torch.float64)
    with torch.no_grad():
        expected = [tt.reset(one.net) or one.net(x) for x in xs]
    tt.reset(one.net)
    for t in range(4):
        torch.testing.assert_close(one.body.forward(xs[t]), expected[t])
        torch.testing.assert_close(one.body.ahead(xs[t + 1]), expected[t + 1])
        one.body.credit(one.trace, torch.ones(1, 3, dtype=torch.float64))


def test_without_memory_credit_is_that_of_one_step():
    plain = agent()
    one = agent()
    one.without_memory()
    xs = torch.randn(2, 1, INPUTS, dtype=torch.float64)
    for x in xs:
        one.body.forward(x)
    one.body.credit(one.trace, torch.ones(1, 3, dtype=torch.float64))
    body = AutogradBody(plain.net)
    body.forward(xs[1])
    body.credit(plain.trace, torch.ones(1, 3, dtype=torch.float64))
    torch.testing.assert_close(one.trace.value, plain.trace.value)


@pytest.mark.parametrize("rows", [1, 3])
def test_adam_along_a_trace_is_torchs(rows):
    nets = [nn.Linear(3, 2).double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    steps = [
        tt.rl.AdamStep(0.01),
        tt.rl.OptimizerStep(lambda p: torch.optim.Adam(p, lr=0.01), nets[1]),
    ]
    traces = [tt.rl.RowTraces(net, rows) for net in nets]
    draws = torch.Generator().manual_seed(0)
    for t in range(30):
        value = torch.randn(rows, 8, generator=draws, dtype=torch.float64)
        errors = torch.randn(rows, generator=draws).tolist()
        for trace, step in zip(traces, steps, strict=True):
            trace.value.copy_(value)
            step(trace, errors)
        if t == 10:
            saved = copy.deepcopy(steps[0].state_dict())
            steps[0] = tt.rl.AdamStep(0.01)
            steps[0].load_state_dict(saved)
    torch.testing.assert_close(nets[0].weight, nets[1].weight, rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match="positive"):
        tt.rl.AdamStep(0.0)
