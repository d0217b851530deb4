"""Recordings become tensors a window at a time, and no window depends on how the others are cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tracetorch.data import DenseRecording, EventRecording, Recording, collate_ragged, split_by_hash


def events(n: int = 500, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 10_000, n), rng.integers(0, size, n)


def test_counts_are_those_of_a_loop() -> None:
    times, units = events()
    recording = EventRecording(times, units, (3, 4), dt=70)
    expected = torch.zeros(recording.steps, 12)
    for t, u in zip(times, units, strict=True):
        expected[t // 70, u] += 1
    assert isinstance(recording, Recording) and len(recording) == 500
    assert torch.equal(recording.window(0, recording.steps).reshape(-1, 12), expected)
    assert recording.steps == times.max() // 70 + 1
    assert expected.max() > 1


@pytest.mark.parametrize("cut", [1, 7, 64])
def test_windows_joined_are_the_whole(cut: int) -> None:
    times, units = events()
    for recording in (EventRecording(times, units, (12,), dt=70), DenseRecording(np.random.rand(143, 5))):
        stops = range(0, recording.steps, cut)
        parts = [recording.window(a, min(a + cut, recording.steps)) for a in stops]
        assert torch.equal(torch.cat(parts), recording.window(0, recording.steps))


def test_a_recording_that_would_never_fit_is_read_by_windows() -> None:
    recording = EventRecording(np.array([5, 10**12]), np.array([3, 700_000]), (1000, 1000), dt=1)
    assert recording.steps == 10**12 + 1
    assert recording.window(10**12, 10**12 + 1).nonzero().tolist() == [[0, 700, 0]]


def test_a_fixed_number_of_steps_leaves_out_or_fills_up() -> None:
    times, units = np.array([0.0, 0.5, 0.9]), np.array([0, 1, 1])
    assert EventRecording(times, units, (2,), dt=0.5, steps=1).window(0, 1).tolist() == [[1, 0]]
    assert EventRecording(times, units, (2,), dt=0.5, steps=4).window(2, 4).sum() == 0
    assert EventRecording(times[:0], units[:0], (2,), dt=0.5).steps == 0
    assert EventRecording(times + 3, units, (2,), dt=0.5, start=3.0).window(0, 2).tolist() == [[1, 0], [0, 2]]


@pytest.mark.parametrize(
    ("times", "units", "options", "why"),
    [
        ([1, 2], [0], {}, "as many"),
        ([1, 2], [0, 3], {}, "between 0 and 2, got 0 to 3"),
        ([1, 2], [0, -1], {}, "between 0 and 2, got -1 to 0"),
        ([1, 2], [0.0, 1.0], {}, "whole numbers"),
        ([1, float("nan")], [0, 1], {}, "finite"),
        ([-1, 2], [0, 1], {}, "not before start = 0"),
        ([1, 2], [0, 1], {"dt": 0}, "dt must be"),
        ([1, 2], [0, 1], {"steps": -1}, "negative"),
    ],
)
def test_wrong_events_are_named(times: list[float], units: list[int], options: dict[str, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        EventRecording(np.array(times), np.array(units), (3,), **{"dt": 1} | options)


def test_a_window_outside_is_named() -> None:
    for recording in (EventRecording([1], [0], (1,), dt=1), DenseRecording(np.zeros((2, 1)))):
        for window in ((0, 3), (-1, 1), (2, 1)):
            with pytest.raises(IndexError, match="steps 0 to 2"):
                recording.window(*window)
    with pytest.raises(ValueError, match="numbers"):
        DenseRecording(np.array(["a"]))


def test_ragged_recordings_side_by_side() -> None:
    a, b = EventRecording([0, 4], [0, 1], (2,), dt=1), torch.ones(2, 2)
    batch = collate_ragged([(a, 7), (b, 8)])
    assert batch.xs.shape == (5, 2, 2)
    assert batch.lengths.tolist() == [5, 2] and batch.labels.tolist() == [7, 8]
    assert torch.equal(batch.valid.sum(0), batch.lengths)
    assert torch.equal(batch.xs[:, 0], a.window(0, 5)) and torch.equal(batch.xs[:2, 1], b)
    assert batch.xs[2:, 1].abs().sum() == 0
    for wrong, why in (([], "at least one"), ([(a, 0), (torch.ones(2, 3), 1)], r"one shape, got \[\(2,\), \(3,\)\]")):
        with pytest.raises(ValueError, match=why):
            collate_ragged(wrong)


class TestSplits:
    def test_groups_stay_together_and_the_order_is_without_effect(self) -> None:
        names, people = [f"r{i}" for i in range(400)], [i % 40 for i in range(400)]
        split = split_by_hash(names, {"train": 0.7, "valid": 0.1, "test": 0.2}, groups=people)
        assert sorted(sum(split.parts.values(), ())) == list(range(400))
        owners = [{people[i] for i in places} for places in split.parts.values()]
        assert sum(map(len, owners)) == 40
        back = split_by_hash(names[::-1], {"train": 0.7, "valid": 0.1, "test": 0.2}, groups=people[::-1])
        assert back.digest == split.digest and len(split.digest) == 64

    def test_more_recordings_move_no_other(self) -> None:
        few = split_by_hash(range(300), {"train": 0.8, "test": 0.2})
        many = split_by_hash(range(900), {"train": 0.8, "test": 0.2})
        assert set(few["test"]) == {i for i in many["test"] if i < 300}
        assert few.digest != many.digest
        assert abs(len(many["test"]) / 900 - 0.2) < 0.05
        assert split_by_hash(range(300), {"train": 0.8, "test": 0.2}, seed=1).parts != few.parts

    @pytest.mark.parametrize(
        ("names", "fractions", "groups", "why"),
        [
            ("aba", {"x": 1.0}, None, "'a' is there twice"),
            ("abc", {"x": 0.5, "y": 0.4}, None, "add up to 1"),
            ("abc", {"x": 1.5, "y": -0.5}, None, "positive"),
            ("abc", {"x": 1.0}, [1], "as many as names"),
            ("a", {"x": 0.5, "y": 0.5}, None, "is empty"),
        ],
    )
    def test_wrong_splits_are_named(self, names: str, fractions: dict[str, float], groups: list[int], why: str) -> None:
        with pytest.raises(ValueError, match=why):
            split_by_hash(list(names), fractions, groups=groups)
