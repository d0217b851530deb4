"""QRC(lambda) against its equations, with total derivatives through the whole episode by autograd, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt
from rl import nets
from tracetorch.rl.trace import ParameterTrace
from tracetorch.testing import oracle

GAMMA, LAM, ACTIONS, STEPS = 0.9, 0.7, 3, 14
BETA, RATE = 1.0, 0.1  # of the paper


def rtu(seed: int, rule: Callable[[], tt.Rule] = tt.rules.drtrl) -> nn.Module:
    torch.manual_seed(seed)
    units = 6
    net = nn.Sequential(
        tt.Layer(nn.Linear(nets.INPUTS, 2 * units), tt.RTU(units), rule=rule()), nn.Linear(units, ACTIONS)
    )
    return net.double()


def plain(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(nets.INPUTS, 7), nn.LayerNorm(7), nn.LeakyReLU(), nn.Linear(7, ACTIONS)).double()


class Record(tt.rl.Step):
    """Move nothing, so that whole episodes have the derivative of one set of weights; note what would have moved."""

    def __init__(self) -> None:
        self.updates: list[Tensor] = []

    def __call__(self, trace: ParameterTrace, errors: list[float]) -> None:
        assert errors == [1.0] * len(trace.value)
        self.updates.append(trace.value.clone())


def slope(output: Tensor, net: nn.Module) -> Tensor:
    grads = torch.autograd.grad(output, list(net.parameters()), retain_graph=True)
    return torch.cat([g.flatten() for g in grads])


def expected(
    q: nn.Module, h: nn.Module, xs: Tensor, actions: list[int], rewards: list[float], end: bool
) -> list[Tensor]:
    """The updates of one episode, from the paper's equations (26) to (28)."""
    qs, hs = oracle.run(q, xs)[:, 0], oracle.run(h, xs)[:, 0]
    theta = torch.cat([p.detach().flatten() for p in h.parameters()])
    zh, zw, zt, found = 0.0, 0.0, 0.0, []
    for t, (a, r) in enumerate(zip(actions, rewards, strict=True)):
        cut = 1.0 if a == int(qs[t].argmax()) else 0.0
        last = end and t == len(actions) - 1
        error = r + (0.0 if last else GAMMA * qs[t + 1].max()) - qs[t, a]
        dq, dh, value = slope(qs[t, a], q), slope(hs[t, a], h), float(hs[t, a].detach())
        zh, zw, zt = (cut * GAMMA * LAM * z + new for z, new in ((zh, value), (zw, dq), (zt, dh)))
        delta = float(error.detach())
        w = delta * zw - value * dq - zh * slope(error, q)
        found.append(torch.cat([w, RATE * (delta * zt - value * dh - BETA * theta)]))
    return found


def lived(agent: tt.rl.QRC, xs: Tensor, end: bool) -> tuple[list[int], list[float]]:
    rewards = np.random.default_rng(3).normal(size=STEPS).tolist()
    actions = []
    for t, reward in enumerate(rewards):
        actions.append(agent.act(xs[t, 0].numpy()))
        last = t == STEPS - 1
        agent.learn(reward, xs[t + 1, 0].numpy(), terminated=end and last, truncated=not end and last)
    return actions, rewards


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("make", [rtu, plain])
def test_updates_are_the_papers(make: Callable[[int], nn.Module], end: bool) -> None:
    q, h, record = make(0), make(1), Record()
    xs = nets.inputs(STEPS + 1)
    agent = tt.rl.QRC(q, h, gamma=GAMMA, lam=LAM, epsilon=0.3, step=record)
    actions, rewards = lived(agent, xs, end)
    greedy = oracle.run(q, xs)[:-1, 0].argmax(-1).tolist()
    assert 0 < sum(a != b for a, b in zip(actions, greedy, strict=True)) < STEPS  # some traces are cut
    for got, want in zip(record.updates, expected(q, h, xs, actions, rewards, end=end), strict=True):
        assert float((got[0] - want).norm() / want.norm()) < 1e-10
    assert not agent.state_dict()["errors_trace"].any()


def test_a_rule_that_drops_the_past_is_not_it() -> None:
    q, h, record = rtu(0, tt.rules.sltt), rtu(1), Record()
    xs = nets.inputs(STEPS + 1)
    agent = tt.rl.QRC(q, h, gamma=GAMMA, lam=LAM, epsilon=0.3, step=record)
    actions, rewards = lived(agent, xs, True)
    want = expected(q, h, xs, actions, rewards, end=True)[-1]
    assert float((record.updates[-1][0] - want).norm() / want.norm()) > 0.01


def test_without_the_second_network_it_is_q() -> None:
    """A silent h that is held at zero leaves Watkins's Q(lambda), step for step."""
    q, other = rtu(0), rtu(0)
    silent = nn.Linear(nets.INPUTS, ACTIONS).double()
    nn.init.zeros_(silent.weight)
    nn.init.zeros_(silent.bias)
    agent = tt.rl.QRC(q, silent, gamma=GAMMA, lam=LAM, epsilon=0.3, step=tt.rl.FixedStep(0.05))
    agent.error_rate = 0.0
    plainer = tt.rl.Q(other, gamma=GAMMA, lam=LAM, epsilon=0.3, step=tt.rl.FixedStep(0.05))
    xs = nets.inputs(STEPS + 1)
    assert lived(agent, xs, False) == lived(plainer, xs, False)
    for a, b in zip(q.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_rows_are_agents_of_their_own() -> None:
    xs = nets.inputs(5, rows=2)
    rewards = np.random.default_rng(3).normal(size=(4, 2))
    together = Record()
    q, h = rtu(0), rtu(1)
    pair = tt.rl.QRC(
        q, h, gamma=GAMMA, lam=LAM, epsilon=0.0, step=together, senses=tt.rl.Senses(rows=2, dtype=xs.dtype)
    )
    for t in range(4):
        pair.act_rows(xs[t].numpy())
        pair.learn_rows(rewards[t].tolist(), xs[t + 1].numpy(), [False, t == 1], [t == 2, False])
    for row in range(2):
        alone = Record()
        agent = tt.rl.QRC(rtu(0), rtu(1), gamma=GAMMA, lam=LAM, epsilon=0.0, step=alone)
        for t in range(4):
            agent.act(xs[t, row].numpy())
            ends = row == 1 and t == 1, row == 0 and t == 2
            agent.learn(rewards[t, row], xs[t + 1, row].numpy(), terminated=ends[0], truncated=ends[1])
        for a, b in zip(alone.updates, together.updates, strict=True):
            torch.testing.assert_close(a[0], b[row], rtol=1e-10, atol=1e-13)


def test_it_resumes_bit_for_bit() -> None:
    def make(seed: int) -> tt.rl.QRC:
        return tt.rl.QRC(rtu(seed), rtu(seed + 1), gamma=GAMMA, lam=LAM, epsilon=0.3, step=tt.rl.FixedStep(0.05))

    xs = nets.inputs(21)[:, 0].numpy()

    def go(agent: tt.rl.QRC, steps: range) -> None:
        for t in steps:
            agent.act(xs[t])
            agent.learn(float(xs[t, 0]), xs[t + 1], terminated=False, truncated=t % 7 == 6)

    whole, first, second = make(0), make(0), make(5)
    go(whole, range(20))
    go(first, range(10))
    second.load_state_dict(first.state_dict())
    go(second, range(10, 20))
    for a, b in zip(whole.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(a, b)


def test_without_memory_both_values_are_of_a_first_step() -> None:
    q, h, record = rtu(0), rtu(1), Record()
    agent = tt.rl.QRC(q, h, gamma=GAMMA, lam=LAM, epsilon=0.0, step=record)
    agent.without_memory()
    xs = nets.inputs(2)
    agent.act(xs[0, 0].numpy())
    agent.learn(1.0, xs[1, 0].numpy(), terminated=False, truncated=False)
    after = oracle.run(q, xs[1:])[0, 0].max()
    before = oracle.run(q, xs[:1])[0, 0].max()
    assert agent.errors[0] == pytest.approx((1.0 + GAMMA * after - before).item(), rel=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    net = rtu(0)
    with pytest.raises(ValueError, match="share parameters"):
        tt.rl.QRC(net, net)
    with pytest.raises(ValueError, match=r"use tt\.rl\.Q"):
        tt.rl.QRC(rtu(0), rtu(1)).compile()
