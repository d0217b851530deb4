"""Agents on a stream: what ends an episode, under which weights values are taken, rows by themselves, resume."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import tracetorch as tt
from rl import nets
from tracetorch.rl.envs import EnvironmentDied, Episodes, MemoryChain, TMaze

GAMMA, LAM = 0.9, 0.7


def network(outputs: int = 3, rule: Callable[[], tt.Rule] = tt.rules.eprop, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(
        tt.Layer(nn.Linear(nets.INPUTS, 10), tt.LIF(half_life=3.0, threshold=0.5)),
        tt.Layer(nn.Linear(10, outputs), tt.LI(half_life=2.0)),
    ).double()
    tt.set_rule(net, rule())
    return net


def actor_critic(net: nn.Module, **options) -> tt.rl.ActorCritic:
    policy = options.pop("policy", tt.rl.Categorical(2))
    return tt.rl.ActorCritic(net, policy, gamma=GAMMA, lam=LAM, **options)


AGENTS = {
    "actor-critic": actor_critic,
    "q": lambda net, **o: tt.rl.Q(net, gamma=GAMMA, lam=LAM, epsilon=0.3, **o),
    "reward e-prop": lambda net, **o: tt.rl.RewardEProp(net, tt.rl.Categorical(2), gamma=GAMMA, **o),
}


def observations(steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(steps, nets.INPUTS))


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_the_step_is_the_formula():
    """Three steps of AC(lambda), with the trace, the error and the entropy's sign computed apart."""
    net = network()
    agent = actor_critic(net, entropy=0.05, step=tt.rl.FixedStep(0.01))
    twin = copy.deepcopy(net)
    policy = tt.rl.Categorical(2)
    xs = observations(4)
    z = torch.zeros_like(weights(net))
    for t, reward in enumerate([0.5, -1.0, 2.0]):
        action = torch.tensor([agent.act(xs[t])])
        output = twin(torch.from_numpy(xs[t : t + 1]))
        saved = tt.get_state(twin)
        with torch.no_grad():  # under the weights of before the update, from a copy of the state
            other = copy.deepcopy(network())
            other.load_state_dict(twin.state_dict())
            tt.set_state(other, saved)
            after = float(other(torch.from_numpy(xs[t + 1 : t + 2]))[0, -1])
        head = output.detach()
        delta = reward + GAMMA * after - float(head[0, -1])
        log = (
            policy.distribution(output[:, :2]).log_prob(action)
            + 0.05 * np.sign(delta) * policy.distribution(output[:, :2]).entropy()
        )
        grads = torch.autograd.grad(log.sum() + output[0, -1], list(twin.parameters()))
        z = GAMMA * LAM * z + torch.cat([g.flatten() for g in grads])
        agent.learn(reward, xs[t + 1], terminated=False, truncated=False)
        assert agent.errors[0] == pytest.approx(delta, rel=1e-12)
        torch.testing.assert_close(agent.trace.value[0], z)
        with torch.no_grad():
            for p, part in zip(twin.parameters(), agent.trace.split(z), strict=True):
                p += 0.01 * delta * part
        torch.testing.assert_close(weights(net), weights(twin))


def test_looking_ahead_leaves_state_and_traces():
    net = network()
    agent = actor_critic(net)
    xs = observations(6)
    for t in range(3):
        agent.act(xs[t])
        before = tt.get_state(net)
        agent.body.ahead(torch.from_numpy(xs[t + 1 : t + 2]))
        after = tt.get_state(net)
        assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
        agent.learn(1.0, xs[t + 1], terminated=False, truncated=False)


@pytest.mark.parametrize("name", AGENTS)
def test_an_end_clears_trace_and_state_and_a_truncation_counts_what_comes(name):
    errors = {}
    for terminated, truncated in ((True, False), (False, True), (True, True)):
        net = network()
        agent = AGENTS[name](net)
        xs = observations(3)
        for t in range(2):
            agent.act(xs[t])
            end = t == 1
            ahead = agent.body.ahead(torch.from_numpy(xs[t + 1 : t + 2]))
            agent.learn(1.0, xs[t + 1], terminated=end and terminated, truncated=end and truncated)
        errors[terminated, truncated] = agent.errors[0]
        assert not agent.trace.value.any()
        assert all(layer.state is None for layer in tt.layers(net).values())
        assert bool((ahead[0, -1] != 0).item())
    assert errors[True, False] == errors[True, True] != errors[False, True]


def test_watkins_cuts_the_trace_where_it_explores():
    net = network(outputs=4)
    agent = tt.rl.Q(net, gamma=GAMMA, lam=1.0, epsilon=lambda steps: 0.0 if steps < 3 else 1.0)
    xs = observations(40)
    explored = False
    for t in range(8):
        before = agent.trace.value.clone()
        agent.act(xs[t])
        greedy = int(agent._action[0]) == int(agent._head.argmax())
        assert torch.equal(agent.trace.value, before if greedy else torch.zeros_like(before))
        explored |= not greedy and bool(before.any())
        agent.learn(0.0, xs[t + 1], terminated=False, truncated=False)
    assert explored


def test_reward_eprop_filters_by_the_discount_and_takes_random_feedback():
    net = network()
    agent = tt.rl.RewardEProp(
        net, tt.rl.Categorical(2), gamma=GAMMA, value_weight=0.5, feedback=tt.feedback.RandomFeedback()
    )
    assert net[1].feedback is not None and agent.lam == 1.0
    xs = observations(3)
    agent.act(xs[0])
    agent.learn(1.0, xs[1], terminated=False, truncated=False)
    assert bool(agent.trace.value.any())


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("rule", [tt.rules.eprop, tt.rules.drtrl, tt.rules.trace])
def test_rows_are_streams_by_themselves(name, rule):
    """With frozen weights each row has the trace and errors of a run of its own, whenever it ends."""
    steps, rows = 9, 3
    xs = [observations(steps + 1, seed) for seed in range(rows)]
    ends = [{3}, {5, 6}, set()]
    step = tt.rl.FixedStep(1e-30)
    if name == "reward e-prop" and rule is not tt.rules.eprop:
        pytest.skip("it sets its own rule")
    together = AGENTS[name](network(rule=rule), step=step, senses=tt.rl.Senses(rows=rows, dtype=torch.float64))
    alone = [AGENTS[name](network(rule=rule), step=step) for _ in range(rows)]
    for t in range(steps):
        now = np.stack([x[t] for x in xs])
        nexts = np.stack([x[t + 1] for x in xs])
        actions = together.act_rows(now)
        done = [t in e for e in ends]
        rewards = [float(x[t, 0]) for x in xs]
        for row, agent in enumerate(alone):
            agent.act(now[row])
            if agent._action[0] != actions[row]:  # the draws are another stream's: take the same action
                agent._action = torch.tensor([actions[row]])
                if name == "q":
                    head = agent._head[0]
                    agent.trace.value.mul_(float(head[actions[row]] == head.max()))
        before = together.trace.value.clone()
        together.learn_rows(rewards, nexts, done, [False] * rows)
        for row, agent in enumerate(alone):
            if name == "q":
                agent.trace.value[0].copy_(before[row])
            agent.learn(rewards[row], nexts[row], terminated=done[row], truncated=False)
            torch.testing.assert_close(together.trace.value[row], agent.trace.value[0], rtol=1e-9, atol=1e-12)
            assert together.errors[row] == pytest.approx(agent.errors[0], rel=1e-9)


def streams(name: str, rows: int = 1) -> tt.rl.Rows:
    senses = tt.rl.Senses(
        rows=rows, norm=tt.rl.RunningNorm(4), rewards=tt.rl.RewardScale(GAMMA, rows=rows), dtype=torch.float64
    )
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(4, 8), tt.ALIF(half_life=3.0, threshold=0.3, adaptation_half_life=9.0, adaptation=0.1)),
        tt.Layer(nn.Linear(8, 3), tt.LI(half_life=2.0)),
    ).double()
    tt.set_rule(net, tt.rules.eprop())
    agent = AGENTS[name](net, senses=senses)
    return tt.rl.Rows(agent, [Episodes(MemoryChain(length=5 + row), seed=row) for row in range(rows)])


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("rows", [1, 2])
def test_a_run_goes_on_bit_for_bit_in_mid_episode(name, rows):
    whole = streams(name, rows)
    for _ in range(20):
        list(whole.step())
    saved = copy.deepcopy(whole.state_dict())
    assert saved["envs"][0]["actions"]  # in the midst of an episode
    for _ in range(20):
        list(whole.step())
    again = streams(name, rows)
    list(again.step())
    again.load_state_dict(saved)
    for _ in range(20):
        list(again.step())
    assert torch.equal(weights(whole.agent.net), weights(again.agent.net))
    assert torch.equal(whole.agent.trace.value, again.agent.trace.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused_and_changes_nothing(bad):
    agent = actor_critic(network(), senses=tt.rl.Senses(norm=tt.rl.RunningNorm(nets.INPUTS), dtype=torch.float64))
    xs = observations(3)
    agent.act(xs[0])
    before = weights(agent.net).clone(), agent.trace.value.clone(), agent.senses.norm.count
    with pytest.raises(FloatingPointError, match="reward that is not finite"):
        agent.learn(bad, xs[1], terminated=False, truncated=False)
    with pytest.raises(FloatingPointError, match="observation that is not finite"):
        agent.learn(1.0, np.full(nets.INPUTS, bad), terminated=False, truncated=False)
    assert torch.equal(weights(agent.net), before[0]) and torch.equal(agent.trace.value, before[1])
    assert agent.senses.norm.count == before[2]
    agent.learn(1.0, xs[1], terminated=False, truncated=False)


class Dying:
    actions = 2

    def reset(self, *, seed=None):
        return np.zeros(4), {}

    def step(self, action):
        raise ZeroDivisionError("the motor burned")


def test_an_environment_that_dies_says_so():
    episodes = Episodes(Dying())
    with pytest.raises(EnvironmentDied, match=r"step 0 of episode 0: ZeroDivisionError: the motor burned") as info:
        episodes.step(0)
    assert isinstance(info.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("still", [True, False])
def test_an_observation_counts_once_also_where_it_stays_equal(still):
    agent = actor_critic(network(), senses=tt.rl.Senses(norm=tt.rl.RunningNorm(nets.INPUTS), dtype=torch.float64))
    xs = np.ones((7, nets.INPUTS)) if still else observations(7)
    for t, first in enumerate((0, 1, 2, 4, 5)):  # the third step ends an episode; the next begins with xs[4]
        agent.act(xs[first])
        agent.learn(0.0, xs[first + 1], terminated=t == 2, truncated=False)
        assert agent.senses.norm.count == t + (2 if t < 3 else 3)


def test_rows_count_by_themselves():
    norm = tt.rl.RunningNorm(1)
    senses = tt.rl.Senses(rows=2, norm=norm)
    senses.observe([[1.0], [1.0]])
    senses.follow([[1.0], [1.0]], [False, True])
    assert norm.count == 4
    senses.observe([[1.0], [1.0]])  # the first row's was counted, the second row's begins an episode
    assert norm.count == 5
    senses.observe([[1.0], [1.0]], learn=False)
    assert norm.count == 5


def test_random_spikes_are_drawn_anew_while_the_observation_stays_equal():
    """The network steps on the input that it looked ahead at; each next step, and each new episode, has a new draw."""
    generator = torch.Generator().manual_seed(0)

    def encoder(x):
        return torch.bernoulli(torch.full((len(x), nets.INPUTS), 0.5, dtype=x.dtype), generator=generator)

    agent = actor_critic(network(), senses=tt.rl.Senses(encoder=encoder, dtype=torch.float64))
    inputs: dict[str, list[torch.Tensor]] = {"forward": [], "ahead": []}
    for name, seen in inputs.items():
        run = getattr(agent.body, name)
        setattr(agent.body, name, lambda x, run=run, seen=seen: seen.append(x) or run(x))
    for t in range(20):
        agent.act([0.5])
        agent.learn(0.0, [0.5], terminated=False, truncated=t == 9)
    same = [torch.equal(a, b) for a, b in zip(inputs["ahead"][:-1], inputs["forward"][1:], strict=True)]
    assert same == [t != 9 for t in range(19)]
    assert len({tuple(x[0].tolist()) for x in inputs["forward"]}) > 10


def test_misuse_is_told():
    agent = actor_critic(network())
    with pytest.raises(RuntimeError, match="before act"):
        agent.learn(0.0, np.zeros(5), terminated=False, truncated=False)
    agent.act(np.zeros(5))
    with pytest.raises(RuntimeError, match="waits for its outcome"):
        agent.state_dict()
    with pytest.raises(ValueError, match="one more is the value"):
        actor_critic(network(outputs=5)).act(np.zeros(5))
    with pytest.raises(ValueError, match="gamma and lam"):
        tt.rl.Q(network(), gamma=1.5)


def test_small_environments():
    for length in (1, 4):
        chain = MemoryChain(length=length)
        cue, _ = chain.reset(seed=3)
        shown = [cue]
        for _ in range(length):
            x, reward, terminated, truncated, _ = chain.step(0)
            shown.append(x)
            assert (reward, terminated, truncated) == (0.0, False, False)
        assert abs(cue[0]) == 1 and all(x[0] == 0 for x in shown[1:])
        assert [x[1] for x in shown] == [0.0] * length + [1.0]
        assert all(abs(d) == 1 for x in shown for d in x[2:])
        assert chain.step(int(cue[0] < 0))[1:3] == (-1.0, True)
    maze = TMaze(length=2)
    x, _ = maze.reset(seed=1)
    assert maze.step(1)[1] == pytest.approx(-0.1) and maze.step(0)[1] == 0.0
    y = maze.step(0)[0]
    assert y.tolist() == [0.0, 0.0, 1.0] and maze.step(0)[1] == pytest.approx(-0.1)
    assert maze.step(2 if x[0] > 0 else 1)[1:4] == (1.0, True, False)
    maze.reset(seed=1)
    assert [maze.step(1)[3] for _ in range(16)].index(True) == 15


@pytest.mark.parametrize("part", ["followed", "encoded"])
@pytest.mark.parametrize("wrong", [None, {}, torch.zeros(2, 3)])
def test_a_state_in_which_one_half_of_an_observation_fits_is_refused(part, wrong) -> None:
    senses = tt.rl.Senses()
    senses.follow(np.array([[0.5, -1.0]]), [False])
    with pytest.raises(ValueError, match="before and after encoding"):
        tt.rl.Senses().load_state_dict({**senses.state_dict(), part: wrong})
