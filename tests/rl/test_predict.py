"""An agent as a model of Stable-Baselines3: greedy, with its state outside, and the agent as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import tracetorch as tt
from rl import nets
from tracetorch.testing import oracle


def agent() -> tt.rl.ActorCritic:
    torch.manual_seed(0)
    layer = tt.Layer(nn.Linear(nets.INPUTS, 2 * 6), tt.RTU(6), rule=tt.rules.drtrl())
    return tt.rl.ActorCritic(nn.Sequential(layer, nn.Linear(6, 4)).double(), tt.rl.Categorical(3))


def test_rows_begin_by_themselves_and_the_agent_stays() -> None:
    learner = agent()
    xs = nets.inputs(6, rows=3)
    learner.act(xs[0, 0].numpy())
    before = learner.body.state()
    model, state, starts = tt.rl.Predictor(learner), None, np.ones(3, dtype=bool)
    got = []
    for t in range(6):
        starts = np.array([t == 0, t in (0, 3), t == 0])
        actions, state = model.predict(xs[t].numpy(), state, starts)
        got.append(actions)
    whole = oracle.run(learner.net, xs)[..., :3].argmax(-1)
    whole[3:, 1] = oracle.run(learner.net, xs[3:, 1:2])[:, 0, :3].argmax(-1)
    assert np.array_equal(np.stack(got), whole.numpy())
    assert len(np.unique(whole)) > 1
    after = learner.body.state()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


def test_a_drawn_action_is_refused() -> None:
    with pytest.raises(ValueError, match="deterministic=True"):
        tt.rl.Predictor(agent()).predict(np.zeros((1, nets.INPUTS)), deterministic=False)


def test_stable_baselines_evaluates_it() -> None:
    pytest.importorskip("gymnasium")
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    import gymnasium

    torch.manual_seed(0)
    net = nn.Sequential(tt.Layer(nn.Linear(4, 2 * 6), tt.RTU(6), rule=tt.rules.drtrl()), nn.Linear(6, 3))
    model = tt.rl.Predictor(tt.rl.ActorCritic(net, tt.rl.Categorical(2)))
    mean, _ = evaluation.evaluate_policy(model, gymnasium.make("CartPole-v1"), n_eval_episodes=3, warn=False)
    assert mean >= 8
