"""The ideal observer against brute force, and against what it must not beat."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tracetorch.train.tasks.clicks import Clicks
from tracetorch.train.tasks.observer import IdealObserver


def brute_force(observer: IdealObserver, left: list[int], right: list[int]) -> float:
    """Sum over every pattern of clicks of both sides, and over the contrasts of the midpoint rule."""
    frames = len(left)

    def likelihood(k: int, click: int) -> float:
        p = observer.fires if click else observer.noise
        return math.comb(observer.channels, k) * p**k * (1 - p) ** (observer.channels - k)

    more = [0.0, 0.0]
    for i in range(observer.contrasts):
        contrast = (2 * i + 1) / observer.contrasts - 1
        chance = [1 - math.exp(-observer.clicks_per_frame * (1 + sign * contrast) / 2) for sign in (1, -1)]
        for pattern in itertools.product((0, 1), repeat=2 * frames):
            sides = pattern[:frames], pattern[frames:]
            weight = 1.0
            for side, counts, p in zip(sides, (left, right), chance, strict=True):
                for click, k in zip(side, counts, strict=True):
                    weight *= (p if click else 1 - p) * likelihood(k, click)
            if sum(sides[0]) != sum(sides[1]):
                more[sum(sides[0]) < sum(sides[1])] += weight
    return more[0] / sum(more)


@pytest.mark.parametrize(("noise", "fires"), [(0.3, 0.6), (0.05, 0.9), (0.5, 0.5)])
def test_it_is_the_sum_over_all_patterns(noise: float, fires: float) -> None:
    observer = IdealObserver(channels=3, noise=noise, fires=fires, clicks_per_frame=0.8, contrasts=4)
    left, right = [3, 1, 0], [1, 2, 0]
    got = observer.left(torch.tensor(left).unsqueeze(1), torch.tensor(right).unsqueeze(1))
    assert math.isclose(float(got), brute_force(observer, left, right), rel_tol=1e-12)


def test_swapping_the_sides_swaps_the_answer() -> None:
    observer = IdealObserver(channels=5, noise=0.2, fires=0.6, clicks_per_frame=1.0)
    left, right = torch.randint(0, 6, (2, 30, 8), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(observer.left(left, right), 1 - observer.left(right, left), atol=1e-12)


def test_its_probability_is_calibrated_and_no_threshold_beats_it() -> None:
    task = Clicks(noise=0.25, signal=0.35, channels=5, trials=4000)
    p = task._observed
    is_left = (task._held_out.y == 0).double()
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        here = (p >= low) & (p <= high)
        error = (is_left[here].mean() - p[here].mean()).abs()
        assert here.sum() > 30 and error < 4 * (0.25 / here.sum()).sqrt()
    ideal = ((p > 0.5) == (is_left > 0.5)).double().mean()
    clicks = task._held_out.x[: task.click_frames]
    left, right = clicks[..., :5].sum(-1), clicks[..., 5:10].sum(-1)
    assert 0.6 < ideal < 0.999
    for threshold in range(1, 6):
        count = (left >= threshold).sum(0) - (right >= threshold).sum(0)
        assert ((count > 0) == (is_left > 0.5)).double().mean() <= ideal + 0.005


def test_more_points_of_the_contrast_change_nothing() -> None:
    task = Clicks(noise=0.25, signal=0.35, channels=5, trials=200)
    observer = task.observer
    finer = IdealObserver(**{**observer.__dict__, "contrasts": 200})
    counts = [part.sum(-1).long() for part in task._held_out.x[:100, :, :10].split(5, dim=-1)]
    assert (observer.left(*counts) - finer.left(*counts)).abs().max() < 2e-3


def test_certain_channels_are_allowed() -> None:
    observer = IdealObserver(channels=2, noise=0.0, fires=1.0, clicks_per_frame=1.0)
    p = observer.left(torch.tensor([[2, 0], [2, 0]]), torch.tensor([[0, 2], [2, 0]]))
    assert p.tolist() == [1.0, 0.0]


def test_counts_of_two_shapes_raise() -> None:
    with pytest.raises(ValueError, match=r"got \(3, 2\), \(3, 1\)"):
        IdealObserver(channels=2, noise=0.1, fires=0.9, clicks_per_frame=1.0).left(
            torch.zeros(3, 2).long(), torch.zeros(3, 1).long()
        )
