"""AVG against its pseudo code, with distributions and autograd of torch, in float64."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, distributions, nn

import tracetorch as tt
from rl import nets
from tracetorch.backends.numba import why_not
from tracetorch.rl.trace import ParameterTrace
from tracetorch.testing import oracle

GAMMA, ALPHA, SIZE, SCALE = 0.9, 0.2, 2, 3.0


def plain(inputs: int, outputs: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(inputs, 9), nn.LeakyReLU(), tt.rl.UnitNorm(), nn.Linear(9, outputs))
    return net.double()


def rtu(inputs: int, outputs: int, seed: int, rule: tt.Rule | None = None) -> nn.Module:
    torch.manual_seed(seed)
    hidden = tt.Layer(nn.Linear(inputs, 2 * 5), tt.RTU(5), rule=rule or tt.rules.drtrl())
    return nn.Sequential(hidden, nn.Linear(5, outputs)).double()


def drawn(head: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """An action and its log-probability: a normal number through tanh, by torch's own distributions."""
    mean, raw = head.chunk(2, -1)
    noise = torch.randn(mean.shape, generator=source, dtype=mean.dtype)
    before = mean + raw.clamp(-20.0, 2.0).exp() * noise
    normal = distributions.Normal(mean, raw.clamp(-20.0, 2.0).exp())
    tanh = distributions.TanhTransform(cache_size=1)  # its inverse of a number that it gave is exact
    squashed = distributions.TransformedDistribution(normal, [tanh])
    action = tanh(before)
    return action, squashed.log_prob(action).sum(-1)


def sigma(rewards: list[float], gammas: list[float], returns: list[float]) -> float:
    variance = max(np.var(rewards) + np.var(gammas) * (np.mean(np.square(returns)) if returns else 0.0), 1e-4)
    return 1.0 if variance <= 0.01 and not returns else float(variance**0.5)


def test_updates_are_the_pseudo_code() -> None:
    """Fifteen steps over three episodes, with plain gradient steps and with Adam without momentum.

    Adam divides a gradient by its own size, so the rounding of one that nearly cancels counts in full.
    """
    for optimizer, tolerance in (
        (lambda p: torch.optim.SGD(p, lr=0.02), 1e-10),
        (lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.0, 0.999)), 1e-8),
    ):
        actor, critic = plain(nets.INPUTS, 2 * SIZE, 0), plain(nets.INPUTS + SIZE, 1, 1)
        pi, q = copy.deepcopy(actor), copy.deepcopy(critic)
        steps = tt.rl.OptimizerStep(optimizer, actor), tt.rl.OptimizerStep(optimizer, critic)
        agent = tt.rl.AVG(actor, critic, scale=SCALE, gamma=GAMMA, entropy=ALPHA, steps=steps)
        agent.seed(4)
        draws = torch.Generator().manual_seed(4)
        moves_pi, moves_q = optimizer(pi.parameters()), optimizer(q.parameters())
        xs, rewards = nets.inputs(16), np.random.default_rng(0).normal(size=15) * 2
        soft, gammas, returns, total = [], [], [], 0.0
        for t, reward in enumerate(rewards):
            ends, cut = t == 4, t == 9
            given = agent.act(xs[t, 0].numpy())
            agent.learn(reward, xs[t + 1, 0].numpy(), terminated=ends, truncated=cut)

            action, log = drawn(pi(xs[t]), draws)
            assert np.allclose(given, SCALE * action.detach().numpy()[0], rtol=1e-6)
            soft.append(reward - ALPHA * float(log.detach()))
            total += soft[-1]
            gammas.append(0.0 if ends else GAMMA)
            if ends or cut:
                returns.append(total)
                total = 0.0
            value = q(torch.cat([xs[t], action.detach()], -1))[:, 0]
            after = 0.0
            if not ends:
                with torch.no_grad():
                    other, entropy = drawn(pi(xs[t + 1]), draws)
                    after = q(torch.cat([xs[t + 1], other], -1))[:, 0] - ALPHA * entropy
            delta = (reward + GAMMA * after - value).detach() / sigma(soft, gammas, returns)
            policy_loss = (ALPHA * log - q(torch.cat([xs[t], action], -1))[:, 0]).sum()
            slopes = torch.autograd.grad(policy_loss, list(pi.parameters()))
            slopes_q = torch.autograd.grad((-delta * value).sum(), list(q.parameters()))
            for net, grads, moves in ((pi, slopes, moves_pi), (q, slopes_q, moves_q)):
                for p, g in zip(net.parameters(), grads, strict=True):
                    p.grad = g
                moves.step()
            for mine, theirs in ((actor, pi), (critic, q)):
                for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
                    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance / 100)


class Record(tt.rl.Step):
    def __init__(self) -> None:
        self.updates: list[Tensor] = []

    def __call__(self, trace: ParameterTrace, errors: list[float]) -> None:
        self.updates.append((trace.value * trace.value.new_tensor(errors)[:, None])[0])


def lived(rule: tt.Rule | None = None) -> tuple[list[Tensor], list[Tensor], nn.Module, nn.Module, tt.rl.AVG]:
    actor, critic = rtu(nets.INPUTS, 2 * SIZE, 0, rule), rtu(nets.INPUTS + SIZE, 1, 1, rule)
    records = Record(), Record()
    agent = tt.rl.AVG(actor, critic, gamma=GAMMA, entropy=ALPHA, steps=records)
    agent.seed(4)
    xs = nets.inputs(13)
    for t in range(12):
        agent.act(xs[t, 0].numpy())
        agent.learn(float(xs[t, 0, 0]), xs[t + 1, 0].numpy(), terminated=False, truncated=False)
    return records[0].updates, records[1].updates, actor, critic, agent


def through_time(actor: nn.Module, critic: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The actor's and the critic's gradients of twelve steps through their whole past, the action's by the present."""
    xs, draws = nets.inputs(13), torch.Generator().manual_seed(4)
    heads = oracle.run(actor, xs)
    taken, logs = [], []
    for t in range(12):
        action, log = drawn(heads[t], draws)
        taken.append(action)
        logs.append(log)
        drawn(heads[t + 1].detach(), draws)  # the next action, for the error
    fixed = torch.stack(taken).detach().requires_grad_()
    values = oracle.run(critic, torch.cat([xs[:12], fixed], -1))[:, 0, 0]
    of_actor, of_critic = [], []
    for t in range(12):
        (by_action,) = torch.autograd.grad(values[t], fixed, retain_graph=True)
        objective = (taken[t] * by_action[t]).sum() - ALPHA * logs[t].sum()
        for objective_, net, out in ((objective, actor, of_actor), (values[t], critic, of_critic)):
            grads = torch.autograd.grad(objective_, list(net.parameters()), retain_graph=True)
            out.append(torch.cat([g.flatten() for g in grads]))
    return of_actor, of_critic


def test_gradients_go_through_the_traces_of_both_networks() -> None:
    mine, errors_times_mine, actor, critic, _ = lived()
    theirs, slopes = through_time(actor, critic)
    for a, b in zip(mine, theirs, strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-10
    for a, b in zip(errors_times_mine, slopes, strict=True):  # equal up to the error, a number
        scale = float(a @ b / (b @ b))
        assert float((a - scale * b).norm() / a.norm()) < 1e-10


def test_a_rule_that_drops_the_past_is_not_it() -> None:
    mine, _, actor, critic, _ = lived(tt.rules.sltt())
    theirs, _ = through_time(actor, critic)
    assert float((mine[-1] - theirs[-1]).norm() / theirs[-1].norm()) > 0.01


def test_widths_outside_their_range_have_no_slope() -> None:
    actor, critic = plain(nets.INPUTS, 2, 0), plain(nets.INPUTS + 1, 1, 1)
    with torch.no_grad():
        actor[-1].bias[1] = 5.0
    record = Record()
    agent = tt.rl.AVG(actor, critic, steps=(record, tt.rl.FixedStep(0.1)))
    xs = nets.inputs(2)[:, 0].numpy()
    agent.act(xs[0])
    agent.learn(1.0, xs[1], terminated=False, truncated=False)
    slopes = agent.trace.split(record.updates[0])
    assert float(slopes[-1][1]) == 0.0 != float(slopes[-1][0])


def test_it_resumes_bit_for_bit() -> None:
    def make(seed: int) -> tt.rl.AVG:
        return tt.rl.AVG(rtu(nets.INPUTS, 2, seed), rtu(nets.INPUTS + 1, 1, seed + 1))

    xs = nets.inputs(21)[:, 0].numpy()

    def go(agent: tt.rl.AVG, steps: range) -> None:
        for t in steps:
            agent.act(xs[t])
            agent.learn(float(xs[t, 0]), xs[t + 1], terminated=t % 7 == 6, truncated=t % 9 == 8)

    whole, first, second = make(0), make(0), make(5)
    go(whole, range(20))
    go(first, range(10))
    second.load_state_dict(first.state_dict())
    go(second, range(10, 20))
    for mine, theirs in ((whole.net, second.net), (whole.critic, second.critic)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)


def test_rows_are_agents_of_their_own() -> None:
    """Two streams give the mean of two agents' updates; the noise is drawn together, so actions are compared first."""
    xs = nets.inputs(4, rows=2)
    senses = tt.rl.Senses(rows=2, dtype=xs.dtype)
    agent = tt.rl.AVG(rtu(nets.INPUTS, 2, 0), rtu(nets.INPUTS + 1, 1, 1), senses=senses)
    for t in range(3):
        actions = agent.act_rows(xs[t].numpy())
        assert len(actions) == 2 and not np.array_equal(actions[0], actions[1])
        agent.learn_rows([1.0, -1.0], xs[t + 1].numpy(), [False, t == 1], [False, False])
    assert len(agent.critic_trace.value) == 2 and bool(agent.critic_trace.value.isfinite().all())


def test_without_memory_it_sees_the_present_alone() -> None:
    agent = tt.rl.AVG(rtu(nets.INPUTS, 2, 0), rtu(nets.INPUTS + 1, 1, 1))
    agent.without_memory()
    xs = nets.inputs(3)[:, 0].numpy()
    agent.act(xs[0])
    agent.learn(1.0, xs[1], terminated=False, truncated=False)
    agent.act(xs[1])
    first = agent.last[0]
    torch.testing.assert_close(first, oracle.run(agent.net, torch.from_numpy(xs[1:2, None]))[0])


def test_learning_before_acting_is_refused() -> None:
    agent = tt.rl.AVG(plain(nets.INPUTS, 2, 0), plain(nets.INPUTS + 1, 1, 1))
    with pytest.raises(RuntimeError, match="learn came before act"):
        agent.learn(1.0, nets.inputs(1)[0, 0].numpy(), terminated=False, truncated=False)


def test_a_compiled_actor_is_the_same() -> None:
    if why_not():
        pytest.skip(f"compiled kernels cannot run here: {why_not()}")

    def make() -> tt.rl.AVG:
        torch.manual_seed(0)
        hidden = tt.Layer(nn.Linear(nets.INPUTS, 8), tt.LIF(half_life=3.0, threshold=0.5))
        actor = nn.Sequential(hidden, tt.Layer(nn.Linear(8, 2), tt.LI(half_life=2.0))).double()
        tt.set_rule(actor, tt.rules.drtrl())
        return tt.rl.AVG(actor, plain(nets.INPUTS + 1, 1, 1), steps=(tt.rl.FixedStep(0.1), tt.rl.FixedStep(0.1)))

    one, two = make(), make()
    two.compile()
    xs = nets.inputs(13)[:, 0].numpy() * 2
    for agent in (one, two):
        for t in range(12):
            agent.act(xs[t])
            agent.learn(float(xs[t, 0]), xs[t + 1], terminated=t == 5, truncated=False)
    for a, b in zip(one.net.parameters(), two.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
