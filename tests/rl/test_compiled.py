"""Agents on compiled kernels are the agents on autograd, to rounding."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import tracetorch as tt
from rl import nets
from rl.nets import live, weights
from tracetorch.steps import why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"compiled kernels cannot run here: {why_not()}")

RULES = {
    "drtrl": tt.rules.drtrl,
    "drtrl by gain": lambda: tt.rules.drtrl(input="gain"),
    "eprop": tt.rules.eprop,
    "trace": tt.rules.trace,
    "ottt": tt.rules.ottt,
    "sltt": tt.rules.sltt,
    "cascade": tt.rules.cascade,
    "random feedback": lambda: tt.rules.drtrl(feedback=tt.feedback.RandomFeedback()),
}
HIDDEN = {
    "lif": lambda: tt.LIF(half_life=3.0, threshold=0.5),
    "alif": lambda: tt.ALIF(half_life=3.0, threshold=0.5, adaptation_half_life=9.0, adaptation=0.1),
}


def agent(rule, hidden: str = "lif", depth: int = 1) -> tt.rl.ActorCritic:
    torch.manual_seed(0)
    sizes = [nets.INPUTS, *[10] * depth]
    layers = [tt.Layer(nn.Linear(a, b), HIDDEN[hidden]()) for a, b in pairwise(sizes)]
    net = nn.Sequential(*layers, tt.Layer(nn.Linear(10, 4), tt.LI(half_life=2.0, normalized=True))).double()
    tt.set_rule(net, rule())
    senses = tt.rl.Senses(norm=tt.rl.RunningNorm(nets.INPUTS), dtype=torch.float64)
    return tt.rl.ActorCritic(net, tt.rl.Categorical(3), entropy=0.05, senses=senses)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_it_is_the_same_agent(rule, hidden):
    if rule == "ottt" and hidden == "alif":
        pytest.skip("one trace per input cannot represent adaptation")
    plain, compiled = agent(RULES[rule], hidden), agent(RULES[rule], hidden)
    compiled.compile()
    first = weights(plain)
    torch.testing.assert_close(torch.tensor(live(compiled, range(60))), torch.tensor(live(plain, range(60))))
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(compiled.trace.value, plain.trace.value, rtol=1e-9, atol=1e-11)
    assert float((weights(plain) - first).norm()) > 1e-2


def test_it_takes_over_in_mid_episode_and_gives_back():
    plain, compiled = agent(tt.rules.drtrl, depth=2), agent(tt.rules.drtrl, depth=2)
    live(plain, range(40))
    live(compiled, range(14))
    compiled.compile()
    live(compiled, range(14, 24))
    saved = compiled.state_dict()
    back = agent(tt.rules.drtrl, depth=2)
    back.load_state_dict(saved)
    live(back, range(24, 40))
    torch.testing.assert_close(weights(back), weights(plain), rtol=1e-9, atol=1e-11)


def test_without_memory_it_is_the_same_agent():
    plain, compiled = agent(tt.rules.drtrl), agent(tt.rules.drtrl)
    compiled.compile()
    first = weights(plain)
    for one in (plain, compiled):
        one.without_memory()
    torch.testing.assert_close(torch.tensor(live(compiled, range(40))), torch.tensor(live(plain, range(40))))
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=1e-9, atol=1e-11)
    assert float((weights(plain) - first).norm()) > 1e-2


def test_it_goes_on_bit_for_bit():
    whole = agent(tt.rules.trace)
    whole.compile()
    live(whole, range(20))
    saved = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in whole.state_dict().items()}
    saved["weights"] = {k: v.clone() for k, v in saved["weights"].items()}
    saved["trace"] = {"value": whole.trace.value.clone()}
    live(whole, range(20, 40))
    again = agent(tt.rules.trace)
    again.compile()
    live(again, range(3))
    again.load_state_dict(saved)
    live(again, range(20, 40))
    assert torch.equal(weights(again), weights(whole)) and torch.equal(again.trace.value, whole.trace.value)


def test_looking_ahead_changes_nothing_and_is_what_comes():
    one = agent(tt.rules.drtrl)
    one.compile()
    xs = torch.randn(8, 1, nets.INPUTS, dtype=torch.float64)
    for x in xs:
        ahead = one.body.ahead(x)
        assert torch.equal(one.body.ahead(x), ahead)
        head = one.body.forward(x)
        assert torch.equal(head, ahead)
        later = one.body.ahead(x)
        one.body.credit(one.trace, torch.zeros_like(head))
        assert torch.equal(one.body.ahead(x), later)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="has blocks of its own"):
        agent(lambda: tt.rules.ottt(approximate=True), "alif").compile()
    rows = tt.rl.Q(nets.make(nets.lif), senses=tt.rl.Senses(rows=2, dtype=torch.float64))
    tt.set_rule(rows.net, tt.rules.drtrl())
    with pytest.raises(ValueError, match="one row"):
        rows.compile()
    one = agent(tt.rules.drtrl)
    one.compile()
    one.act(np.zeros(nets.INPUTS))
    with pytest.raises(RuntimeError, match="credit did not follow"):
        one.act(np.zeros(nets.INPUTS))
