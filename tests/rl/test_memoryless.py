"""An agent whose network is reset before each step: values and credit are those of one step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tracetorch as tt
from rl.nets import INPUTS
from tracetorch.backends.numba import why_not
from tracetorch.rl.body import AutogradBody


def agent() -> tt.rl.ActorCritic:
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(INPUTS, 6), tt.LI(tau=5.0, normalized=True)),
        tt.Layer(nn.Linear(6, 3), tt.LI(tau=2.0)),
    ).double()
    tt.set_rule(net, tt.rules.drtrl())
    return tt.rl.ActorCritic(net, tt.rl.Categorical(2), senses=tt.rl.Senses(dtype=torch.float64))


@pytest.mark.parametrize("compiled", [False, True])
def test_without_memory_nothing_of_the_past_is_left(compiled):
    if compiled and why_not():
        pytest.skip(f"compiled kernels cannot run here: {why_not()}")
    one = agent()
    if compiled:
        one.compile()
    one.without_memory()
    xs = torch.randn(5, 1, INPUTS, dtype=torch.float64)
    with torch.no_grad():
        expected = [tt.reset(one.net) or one.net(x) for x in xs]
        remembered = one.net(xs[-1])
    assert not torch.equal(remembered, expected[-1])
    tt.reset(one.net)
    for t in range(4):
        torch.testing.assert_close(one.body.forward(xs[t]), expected[t])
        torch.testing.assert_close(one.body.ahead(xs[t + 1]), expected[t + 1])
        one.body.credit(one.trace, torch.ones(1, 3, dtype=torch.float64))


def test_without_memory_credit_is_that_of_one_step():
    plain, one = agent(), agent()
    one.without_memory()
    xs = torch.randn(2, 1, INPUTS, dtype=torch.float64)
    for x in xs:
        one.body.forward(x)
    one.body.credit(one.trace, torch.ones(1, 3, dtype=torch.float64))
    body = AutogradBody(plain.net)
    body.forward(xs[1])
    body.credit(plain.trace, torch.ones(1, 3, dtype=torch.float64))
    torch.testing.assert_close(one.trace.value, plain.trace.value)
