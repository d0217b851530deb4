"""Agents over recurrent trace units: their traces are real-time recurrent learning, by autograd through the episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt
from rl import nets
from tracetorch.rl.trace import ParameterTrace
from tracetorch.testing import oracle

GAMMA, LAM, ENTROPY, STEPS, UNITS = 0.9, 0.7, 0.05, 20, 6
POLICY = tt.rl.Categorical(2)


def network(rule: tt.Rule) -> nn.Sequential:
    torch.manual_seed(0)
    layer = tt.Layer(nn.Linear(nets.INPUTS, 2 * UNITS), tt.RTU(UNITS, r_min=0.5, r_max=0.95))
    net = nn.Sequential(layer, nn.Linear(UNITS, POLICY.outputs + 1)).double()
    tt.set_rule(net, rule)
    return net


class Still(tt.rl.Step):
    """Move nothing: the derivative through an episode is that of one set of weights."""

    def __call__(self, trace: ParameterTrace, errors: Sequence[float]) -> None:
        """Leave everything."""


def lived(net: nn.Module) -> tuple[list[Tensor], list[int], list[float]]:
    agent = tt.rl.ActorCritic(net, POLICY, gamma=GAMMA, lam=LAM, entropy=ENTROPY, step=Still())
    xs = nets.inputs(STEPS + 1)[:, 0].numpy()
    traces, actions, errors = [], [], []
    for t in range(STEPS):
        actions.append(agent.act(xs[t]))
        agent.learn(float(xs[t, 0]), xs[t + 1], terminated=False, truncated=False)
        traces.append(agent.trace.value[0].clone())
        errors += agent.errors
    return traces, actions, errors


def through_time(net: nn.Module, actions: list[int], errors: list[float]) -> list[Tensor]:
    """The traces, each gradient through the whole past, decays and angles included."""
    heads = oracle.run(net, nets.inputs(STEPS + 1))[:, 0]
    values = heads[:, -1].detach()
    z, found = torch.zeros(()), []
    for t, (action, error) in enumerate(zip(actions, errors, strict=True)):
        reward = float(nets.inputs(STEPS + 1)[t, 0, 0])
        assert error == pytest.approx(float(reward + GAMMA * values[t + 1] - values[t]), rel=1e-10)
        choice = POLICY.distribution(heads[t, :-1])
        sign = 1.0 if error > 0 else -1.0
        score = choice.log_prob(torch.tensor(action)) + ENTROPY * sign * choice.entropy() + heads[t, -1]
        grads = torch.autograd.grad(score, list(net.parameters()), retain_graph=True)
        z = GAMMA * LAM * z + torch.cat([g.flatten() for g in grads])
        found.append(z)
    return found


@pytest.mark.parametrize("rule", [tt.rules.drtrl, tt.rules.eprop, tt.rules.cascade])
def test_traces_are_real_time_recurrent_learning(rule: Callable[[], tt.Rule]) -> None:
    net = network(rule())
    traces, actions, errors = lived(net)
    for got, want in zip(traces, through_time(net, actions, errors), strict=True):
        assert float((got - want).norm() / want.norm()) < 1e-10
    learned = [name for name, p in net.named_parameters() if "neuron" in name and p.requires_grad]
    assert len(learned) == 2  # decays and angles


def test_one_step_credit_is_not() -> None:
    net = network(tt.rules.sltt())
    traces, actions, errors = lived(net)
    want = through_time(net, actions, errors)[-1]
    assert float((traces[-1] - want).norm() / want.norm()) > 0.05
