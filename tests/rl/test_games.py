"""MinAtar and POPGym: what their packages do, through our interface."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.rl.envs import Episodes, MinAtar, gym

GAMES = {"asterix": 4, "breakout": 4, "freeway": 7, "seaquest": 10, "space_invaders": 6}


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "minatar", None)
    with pytest.raises(ImportError, match="pip install minatar"):
        MinAtar("breakout")


@pytest.mark.parametrize("game", GAMES)
def test_a_game_is_played_again_bit_for_bit(game):
    minatar = pytest.importorskip("minatar")
    env = MinAtar(game)
    assert env.shape == (GAMES[game], 10, 10) and env.actions == len(minatar.Environment(game).minimal_action_set())
    draws = np.random.default_rng(0)
    episodes = Episodes(env, seed=3)
    for _ in range(150):  # so that the last action of an episode before could be repeated
        episodes.step(int(draws.integers(env.actions)))
    again = Episodes(MinAtar(game), seed=3)
    again.load_state_dict(episodes.state_dict())
    assert np.array_equal(again.observation, episodes.observation)
    for _ in range(50):
        action = int(draws.integers(env.actions))
        got, want = again.step(action), episodes.step(action)
        assert got[0] == want[0] and np.array_equal(got[1], want[1]) and got[2:] == want[2:]


def test_planes_are_the_packages():
    minatar = pytest.importorskip("minatar")
    mine, theirs = MinAtar("breakout"), minatar.Environment("breakout")
    theirs.seed(5)
    theirs.reset()
    observation, _ = mine.reset(seed=5)
    for action in (1, 2, 1, 0, 2, 1):
        assert np.array_equal(observation.reshape(mine.shape), np.moveaxis(theirs.state(), -1, 0))
        reward, ended = theirs.act(theirs.minimal_action_set()[action])
        observation, got, terminated, truncated, _ = mine.step(action)
        assert (got, terminated, truncated) == (reward, ended, False)


def test_observations_that_are_no_arrays_become_one_hot():
    pytest.importorskip("gymnasium")
    pytest.importorskip("popgym")
    episodes = Episodes(gym("popgym:popgym-RepeatFirstEasy-v0"), seed=2)
    first = episodes.observation
    suit = int(first.argmax())
    assert first.shape == (4,) and first.sum() == 1
    total, steps, ended = 0.0, 0, False
    while not ended:  # naming the first card's suit wins every reward
        reward, after, terminated, truncated = episodes.step(suit)
        assert after.shape == (4,)
        total, steps, ended = total + reward, steps + 1, terminated or truncated
    assert total == pytest.approx(1.0) and steps == 51


@pytest.mark.parametrize("task", ["RepeatPreviousEasy", "PositionOnlyCartPoleEasy"])
def test_units_live_in_popgym(task):
    pytest.importorskip("gymnasium")
    pytest.importorskip("popgym")
    env = gym(f"popgym:popgym-{task}-v0")
    size, actions = env.observation_space.shape[0], int(env.action_space.n)
    torch.manual_seed(0)
    layer = tt.Layer(nn.Linear(size, 2 * 8), tt.RTU(8), rule=tt.rules.drtrl())
    agent = tt.rl.ActorCritic(nn.Sequential(layer, nn.Linear(8, actions + 1)), tt.rl.Categorical(actions))
    rows = tt.rl.Rows(agent, [Episodes(env, seed=0)])
    ended = [end for _ in range(120) for end in rows.step()]
    assert ended and bool(agent.trace.value.isfinite().all()) and bool(agent.trace.value.any())
