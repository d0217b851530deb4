"""Reflect is REINFORCE: held against ordinary autograd through a loop of neuron steps, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt
from rl import nets
from tracetorch.testing import oracle

STEPS, GAMMA = 40, 0.9


def episode(net: nn.Module, policy: tt.rl.Policy, rows: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs `[T, B, n]`, actions `[T, B]` that the policy draws, rewards `[T, B]`."""
    xs = nets.inputs(STEPS, rows)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        heads = oracle.run(net, xs)[..., : policy.outputs]
    actions = torch.stack([policy.sample(head, generator) for head in heads])
    rewards = torch.randn(STEPS, rows, generator=generator, dtype=torch.float64)
    return xs, actions, rewards


def returns(rewards: Tensor, gamma: float = GAMMA) -> Tensor:
    found, after = [], torch.zeros_like(rewards[0])
    for r in rewards.flip(0):
        after = r + gamma * after
        found.append(after)
    return torch.stack(found).flip(0)


def flat(net: nn.Module, objective: Tensor) -> Tensor:
    grads = oracle.gradients_of(objective, net)
    return torch.cat([g.flatten() for g in grads.values()])


def reinforce(net: nn.Module, policy: tt.rl.Policy, xs: Tensor, actions: Tensor, weights: Tensor) -> Tensor:
    """The gradient of `sum_t log pi(a_t) G_t`, through the whole graph."""
    heads = oracle.run(net, xs)[..., : policy.outputs]
    logs = torch.stack([policy.distribution(h).log_prob(a) for h, a in zip(heads, actions, strict=True)])
    return flat(net, (logs * weights).sum())


def reflected(
    net: nn.Module, policy: tt.rl.Policy, xs: Tensor, actions: Tensor, rewards: Tensor, gamma: float = GAMMA
) -> Tensor:
    tt.reset(net)
    reflect = tt.rl.Reflect(net, policy, gamma=gamma, rows=xs.shape[1])
    for x, a, r in zip(xs, actions, rewards, strict=True):
        reflect.act(x, a)
        reflect.reward(r.tolist())
    reflect.finish()
    return -xs.shape[1] * torch.cat([p.grad.flatten() for p in net.parameters() if p.requires_grad])


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.cosine_similarity(a, b, 0))


def adaptive() -> tt.Neuron:
    return tt.ALIF(half_life=4.0, threshold=0.8, adaptation_half_life=20.0, adaptation=0.2)


def learned() -> tt.Neuron:
    return nets.lif(tt.Learnable(torch.linspace(2.0, 8.0, nets.HIDDEN)))


def diagonal() -> tt.Neuron:
    return tt.DiagonalRecurrent(nets.lif(), nets.HIDDEN, init=0.3)


EXACT = {
    "eprop, LIF under a leaky readout": (nets.lif, 1, True, tt.rules.eprop),
    "eprop, learned decays per neuron": (learned, 1, True, tt.rules.eprop),
    "eprop, ALIF": (adaptive, 1, True, tt.rules.eprop),
    "eprop, diagonal recurrence": (diagonal, 1, True, tt.rules.eprop),
    "drtrl, readout without memory": (nets.lif, 1, False, tt.rules.drtrl),
    "drtrl, diagonal recurrence": (diagonal, 1, False, tt.rules.drtrl),
    "ottt, readout without memory": (nets.lif, 1, False, tt.rules.ottt),
    "bptt, two spiking layers under a leaky readout": (nets.lif, 2, True, tt.rules.bptt),
}
INEXACT = {
    "sltt": (nets.lif, 1, True, tt.rules.sltt, (0.4, 0.8)),
    "drtrl under a leaky readout": (nets.lif, 1, True, tt.rules.drtrl, (0.75, 0.95)),
    "eprop at depth": (nets.lif, 2, True, tt.rules.eprop, (0.7, 0.95)),
    "trace": (nets.lif, 1, True, tt.rules.trace, (0.95, 0.999)),
}


@pytest.mark.parametrize("case", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("rows", [1, 3])
def test_reflect_is_reinforce_for_exact_rules(case, rows):
    hidden, layers, readout, rule = case
    net = nets.make(hidden, layers=layers, readout=readout)
    policy = tt.rl.Categorical(nets.OUTPUTS)
    xs, actions, rewards = episode(net, policy, rows)
    nets.require_firing(net, xs)
    tt.set_rule(net, rule())
    expected = reinforce(net, policy, xs, actions, returns(rewards))
    assert distance(reflected(net, policy, xs, actions, rewards), expected) < 1e-10


@pytest.mark.parametrize("case", INEXACT.values(), ids=INEXACT)
def test_other_rules_are_near_it_and_not_equal(case):
    hidden, layers, readout, rule, (low, high) = case
    net = nets.make(hidden, layers=layers, readout=readout)
    policy = tt.rl.Categorical(nets.OUTPUTS)
    xs, actions, rewards = episode(net, policy)
    tt.set_rule(net, rule())
    expected = reinforce(net, policy, xs, actions, returns(rewards))
    found = reflected(net, policy, xs, actions, rewards)
    assert low < cosine(found, expected) < high


def test_it_holds_for_continuous_actions():
    torch.manual_seed(3)
    net = nets.make(nets.lif)
    net[-1].synapse = nn.Linear(nets.HIDDEN, 4).double()
    net = nn.Sequential(net[0], tt.Layer(net[-1].synapse, tt.LI(half_life=3.0)).double())
    policy = tt.rl.Gaussian(2)
    xs, actions, rewards = episode(net, policy)
    tt.set_rule(net, tt.rules.eprop())
    expected = reinforce(net, policy, xs, actions, returns(rewards))
    assert distance(reflected(net, policy, xs, actions, rewards), expected) < 1e-10


def test_td_errors_telescope_into_reinforce_with_a_value_as_baseline():
    net = nets.make(nets.lif)
    policy = tt.rl.Categorical(nets.OUTPUTS - 1)
    xs, actions, rewards = episode(net, policy)
    tt.set_rule(net, tt.rules.eprop())
    ys = oracle.run(net, xs)
    logs = torch.stack([policy.distribution(h[..., :-1]).log_prob(a) for h, a in zip(ys, actions, strict=True)])
    values = ys[..., -1]
    advantage = returns(rewards) - values.detach()
    expected = flat(net, ((logs + values) * advantage).sum())
    reflect = tt.rl.Reflect(net, policy, gamma=GAMMA, value=True)
    for x, a, r in zip(xs, actions, rewards, strict=True):
        reflect.act(x, a)
        reflect.reward(r.tolist())
    reflect.finish()
    assert distance(-torch.cat([p.grad.flatten() for p in net.parameters()]), expected) < 1e-10


def test_a_truncated_episode_counts_the_next_value():
    net = nets.make(nets.lif)
    policy = tt.rl.Categorical(nets.OUTPUTS - 1)
    xs, actions, rewards = episode(net, policy)
    tt.set_rule(net, tt.rules.eprop())
    last = nets.inputs(1, seed=9)
    ys = oracle.run(net, torch.cat([xs, last]))
    worth = rewards.clone()
    worth[-1] += GAMMA * ys[-1, :, -1].detach()
    logs = torch.stack([policy.distribution(h[..., :-1]).log_prob(a) for h, a in zip(ys[:-1], actions, strict=True)])
    values = ys[:-1, :, -1]
    expected = flat(net, ((logs + values) * (returns(worth) - values.detach())).sum())
    reflect = tt.rl.Reflect(net, policy, gamma=GAMMA, value=True)
    for x, a, r in zip(xs, actions, rewards, strict=True):
        reflect.act(x, a)
        reflect.reward(r.tolist())
    reflect.finish(last[0])
    assert distance(-torch.cat([p.grad.flatten() for p in net.parameters()]), expected) < 1e-10


def test_a_step_in_the_midst_makes_the_trace_stale():
    net = nets.make(nets.lif)
    policy = tt.rl.Categorical(nets.OUTPUTS)
    xs, actions, rewards = episode(net, policy)
    tt.set_rule(net, tt.rules.eprop())
    trace = tt.rl.ParameterTrace(net)
    for x, a, r in zip(xs, actions, rewards, strict=True):
        output = net(x)
        trace.decay(GAMMA)
        trace.add(output, policy.slope(output.detach(), a))
        tt.rl.FixedStep(0.05)(trace, [float(r)])
    net_now = nets.make(nets.lif)
    net_now.load_state_dict(net.state_dict())
    expected = reinforce(net_now, policy, xs, actions, (GAMMA ** torch.arange(STEPS).flip(0))[:, None])
    assert distance(trace.value[0], expected) > 0.01


@pytest.mark.parametrize("above", [True, False])
def test_a_reward_above_the_baseline_raises_the_actions_probability(above):
    net = nets.make(nets.lif)
    policy = tt.rl.Categorical(nets.OUTPUTS)
    tt.set_rule(net, tt.rules.eprop())
    x = torch.ones(1, nets.INPUTS, dtype=torch.float64)
    action = torch.tensor([1])

    def probability() -> float:
        tt.reset(net)
        with torch.no_grad():
            for _ in range(6):
                output = net(x)
        tt.reset(net)
        return float(torch.softmax(output, -1)[0, 1])

    before = probability()
    tt.reset(net)
    with torch.enable_grad():
        reflect = tt.rl.Reflect(net, policy, gamma=0.9)
        for _ in range(6):
            reflect.act(x, action)
            reflect.reward([0.0] if _ < 5 else [1.0 if above else -1.0])
        reflect.finish()
    torch.optim.SGD(net.parameters(), lr=1e-2).step()
    assert (probability() > before) == above
