"""The conventions of gymnasium, held against gymnasium itself."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import tracetorch as tt
from tracetorch.rl.envs import Episodes, gym
from tracetorch.train.reward.runner import RewardRunner
from tracetorch.train.tasks import make


def test_the_package_imports_without_it_and_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ImportError, match=r"pip install 'gymnasium\[classic-control\]'"):
        gym("CartPole-v1")


def test_cartpole_ends_as_gymnasium_says():
    pytest.importorskip("gymnasium")
    episodes = Episodes(gym("CartPole-v1"), seed=1)
    first = episodes.observation
    assert first.shape == (4,) and float(abs(first).max()) <= 0.05
    ends = []
    for _ in range(100):
        reward, after, terminated, truncated = episodes.step(1)
        assert reward == 1.0
        if terminated:
            ends.append(after)
            assert not np.array_equal(after, episodes.observation)  # already the next episode's first
        assert not truncated
    assert len(ends) >= 8 and all(abs(x[0]) > 2.4 or abs(x[2]) > 0.2095 for x in ends)


def test_a_time_limit_truncates_and_does_not_terminate():
    pytest.importorskip("gymnasium")
    episodes = Episodes(gym("Pendulum-v1"), seed=1)
    for step in range(200):
        reward, _, terminated, truncated = episodes.step(np.array([0.5], dtype=np.float32))
        assert reward <= 0.0 and not terminated and truncated == (step == 199)
    assert episodes.episode == 1


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_an_episode_is_played_again_bit_for_bit(name):
    pytest.importorskip("gymnasium")
    whole = Episodes(gym(name), seed=5, keep=(0, 2))
    actions = np.random.default_rng(0)

    def draw():
        return int(actions.integers(2)) if name == "CartPole-v1" else actions.normal(size=1).astype(np.float32)

    for _ in range(37):
        whole.step(draw())
    again = Episodes(gym(name), seed=5, keep=(0, 2))
    again.load_state_dict(whole.state_dict())
    assert np.array_equal(again.observation, whole.observation) and again.episode == whole.episode
    for _ in range(10):
        action = draw()
        assert np.array_equal(again.step(action)[1], whole.step(action)[1])


@pytest.mark.parametrize("task", ["cartpole", "acrobot", "pendulum"])
def test_agents_live_in_it(task):
    pytest.importorskip("gymnasium")
    run = RewardRunner(make(task, {"steps": 60, "chunk": 30, "hidden": 8}))
    for _ in run.events():
        pass
    assert run.time_steps == 60
    assert bool(run.stream.agent.trace.value.isfinite().all())
    assert isinstance(run.stream.agent, tt.rl.ActorCritic)


def test_what_is_drawn_of_a_run_leaves_it_as_it_is():
    pytest.importorskip("gymnasium")
    pytest.importorskip("pygame")
    run = RewardRunner(make("cartpole", {"steps": 40, "chunk": 20, "hidden": 8}))
    for _ in run.events(until=1):
        pass
    before = run.stream.agent.state_dict()
    arrays = run.arrays()
    assert arrays["frames"].shape[-1] == 3 and arrays["spikes.0"].shape[1] == 8
    after = run.stream.agent.state_dict()
    assert all((after["stream"][k] == v).all() for k, v in before["stream"].items())
    assert after["senses"]["norm"]["count"] == before["senses"]["norm"]["count"]
