"""The clicks are as described: their numbers, labels, channels and times."""

from __future__ import annotations

import pytest
import torch

import tracetorch as tt
from tracetorch.train.tasks.clicks import Clicks


def test_the_label_is_the_side_with_more_clicks_and_ties_do_not_occur() -> None:
    batch = Clicks(click_seconds=0.5, batch_size=500).batch(0)
    left, right = batch.extra["counts"].unbind(-1)
    assert (left != right).all()
    assert torch.equal(batch.y, (right > left).long())
    assert 0.4 < batch.y.float().mean() < 0.6


def test_frames_follow_the_clicks_the_silence_and_the_recall() -> None:
    task = Clicks(batch_size=400)
    batch = task.batch(0)
    assert batch.x.shape == (200, 400, 21)
    assert set(batch.x.unique().tolist()) == {0.0, 1.0}
    clicks, silence, recall = batch.x.split([100, 80, 20])
    assert abs(float(silence.mean()) - 0.05) < 0.002
    assert abs(float(recall[..., :-1].mean()) - 0.05) < 0.002
    assert abs(float(recall[..., -1].mean()) - task.fires) < 0.02
    assert abs(float(clicks[..., -1].mean()) - 0.05) < 0.005
    counts = batch.extra["counts"]
    expected = 10 * (counts * task.fires + (100 - counts) * 0.05)
    got = torch.stack([clicks[..., :10].sum((0, -1)), clicks[..., 10:20].sum((0, -1))], -1)
    assert (got - expected).abs().mean() < 10
    assert (got - expected).mean().abs() < 1.5


def test_the_channels_of_a_click_fire_together() -> None:
    batch = Clicks(batch_size=200, noise=0.0, signal=1.0).batch(0)
    left, right = (batch.x[..., part].sum(-1) for part in (slice(0, 10), slice(10, 20)))
    assert set(left.unique().tolist()) == {0.0, 10.0}
    assert torch.equal(torch.stack([(left > 0).sum(0), (right > 0).sum(0)], -1), batch.extra["counts"])


def test_the_difficulty_covers_the_whole_range() -> None:
    difference = Clicks(trials=2000).difference
    assert difference.min() < -0.9 and difference.max() > 0.9
    assert 0.05 < (difference.abs() < 0.1).float().mean() < 0.2


def test_training_trials_never_repeat_nor_meet_the_held_out_ones() -> None:
    task = Clicks(trials=50)
    assert torch.equal(task.batch(5).x, task.batch(5).x)
    assert not torch.equal(task.batch(5).x, task.batch(6).x)
    assert not torch.equal(task.batch(0).x[:, :50], task._held_out.x)


def test_the_hard_form_learns_half_lives_and_tells_them_before_and_after() -> None:
    task = Clicks(**Clicks.presets["hard"], hidden=8, trials=40)
    net = task.build()
    hidden = tt.layers(net)["0"].neuron
    assert hidden.beta.shape == (8,) and torch.allclose(tt.half_life(hidden.beta), torch.tensor(10.0))
    task.optimizer(net)
    scores, figures = task.evaluate(net), task.figures(net)
    assert next(iter(scores)) == "accuracy" and abs(scores["half_life_0"] - 10) < 1e-3
    assert torch.allclose(figures["half_life.0.before"], torch.full((8,), 10.0))
    assert figures["psychometric"].shape[1] == 4
    assert figures["psychometric"][:, 3].sum() == 40


@pytest.mark.parametrize("bad", [{"noise": 1.5}, {"signal": -0.1}, {"loss": "first"}, {"recall_seconds": 0.0}])
def test_bad_options_raise(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"option|frame"):
        Clicks(**bad)
