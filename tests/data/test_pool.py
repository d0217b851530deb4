"""Rows that read recordings side by side: every step once, resets where they belong, and a position that resumes."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.data import DenseRecording, RowPool, Window

LENGTHS = (5, 1, 9, 16, 3, 12, 7)


def some() -> list[tuple[DenseRecording, int]]:
    """Recordings whose value says recording and step."""
    return [
        (DenseRecording(100 * i + np.arange(n, dtype=np.float64).reshape(n, 1)), i % 3) for i, n in enumerate(LENGTHS)
    ]


def pool_of(**options: Any) -> RowPool:
    return RowPool(some(), **{"rows": 3, "steps": 4} | options)


def steps_of(windows: list[Window]) -> list[list[float]]:
    """What each row reads, in its order."""
    rows: list[list[float]] = [[] for _ in range(windows[0].xs.shape[1])]
    for window in windows:
        for row, read in enumerate(rows):
            read += window.xs[window.valid[:, row], row, 0].tolist()
    return rows


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("seed", [None, 0, 5])
def test_every_step_is_read_once_and_in_its_order(join: bool, seed: int | None) -> None:
    windows = list(pool_of(join=join, seed=seed))
    read = steps_of(windows)
    assert Counter(value for row in read for value in row) == Counter(
        100.0 * i + t for i, n in enumerate(LENGTHS) for t in range(n)
    )
    for row in read:
        for a, b in pairwise(row):
            assert b == a + 1 or (b % 100 == 0 and a % 100 == LENGTHS[int(a // 100)] - 1)


@pytest.mark.parametrize("join", [False, True])
def test_resets_ends_labels(join: bool) -> None:
    for window in pool_of(join=join):
        assert window.xs[~window.valid].abs().sum() == 0
        assert (window.labels[~window.valid] == -1).all() and (window.recordings[~window.valid] == -1).all()
        place, step = (window.xs[..., 0] // 100).long(), (window.xs[..., 0] % 100).long()
        assert torch.equal(window.recordings[window.valid], place[window.valid])
        assert torch.equal(window.labels[window.valid], place[window.valid] % 3)
        assert torch.equal(window.resets, window.valid & (step == 0))
        assert torch.equal(window.ends, window.valid & (step == torch.tensor(LENGTHS)[place] - 1))
        if not join:
            assert not window.resets[1:].any()


def test_joined_rows_lose_no_step() -> None:
    endless = pool_of(join=True, epochs=None, rows=2)
    windows = [endless.next() for _ in range(50)]
    assert all(window is not None and window.valid.all() for window in windows)
    first = steps_of(windows)[0]
    assert len(first) == 200


def test_epochs_differ_in_order_and_repeat_with_the_seed() -> None:
    def order(pool: RowPool) -> list[int]:
        return [int(p) for w in pool for p in w.recordings[w.resets]]

    two = order(pool_of(rows=1, epochs=2))
    assert sorted(two[:7]) == sorted(two[7:]) == list(range(7)) and two[:7] != two[7:]
    assert order(pool_of(rows=1, epochs=2)) == two
    assert order(pool_of(rows=1, seed=1)) != two[:7]
    assert order(pool_of(rows=1, seed=None)) == list(range(7))


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("after", [0, 1, 4, 9])
def test_the_position_resumes(join: bool, after: int) -> None:
    options = {"join": join, "epochs": 3}
    pool = pool_of(**options)
    for _ in range(after):
        pool.next()
    state = {name: tensor.clone() for name, tensor in pool.state_dict().items()}
    rest = list(pool)
    again = pool_of(**options)
    again.load_state_dict(state)
    resumed = list(again)
    assert len(resumed) == len(rest) > 0
    assert all(torch.equal(a, b) for w, v in zip(rest, resumed, strict=True) for a, b in zip(w, v, strict=True))


def test_a_network_that_is_reset_by_the_pool_gives_what_each_recording_alone_gives() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        tt.Layer(nn.Linear(1, 6), tt.LIF(half_life=4)), tt.Layer(nn.Linear(6, 2), tt.LI(half_life=4))
    ).double()
    rng = np.random.default_rng(0)
    recordings = [(DenseRecording(4 * rng.random((n, 1))), 0) for n in LENGTHS]
    got: dict[int, list[torch.Tensor]] = {i: [] for i in range(len(LENGTHS))}
    tt.reset(net)
    with torch.no_grad():
        for window in RowPool(recordings, rows=3, steps=4):
            tt.reset(net, window.resets[0])
            ys = tt.scan(net, window.xs.double())
            for row in range(3):
                for t in window.valid[:, row].nonzero().flatten().tolist():
                    got[int(window.recordings[t, row])].append(ys[t, row])
        for i, (recording, _) in enumerate(recordings):
            tt.reset(net)
            alone = tt.scan(net, recording.window(0, recording.steps).unsqueeze(1).double())[:, 0]
            torch.testing.assert_close(torch.stack(got[i]), alone, rtol=1e-10, atol=1e-12)


def test_a_bad_recording_is_named_and_the_position_stays() -> None:
    data = some()
    data[3] = (DenseRecording(np.zeros((4, 2))), 0)
    pool = RowPool(data, rows=2, steps=4, seed=None)
    assert pool.next() is not None
    before = {name: tensor.tolist() for name, tensor in pool.state_dict().items()}
    for _ in range(2):
        with pytest.raises(ValueError, match=r"recording 3 has steps of the shape \(2,\), those before \(1,\)"):
            list(pool)
    after = {name: tensor.tolist() for name, tensor in pool.state_dict().items()}
    assert after["taken"] == 3 and before["taken"] == 2
    data[3] = (DenseRecording(np.zeros((0, 1))), 0)
    with pytest.raises(ValueError, match="recording 3 has no step"):
        list(RowPool(data, rows=2, steps=4))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"belongs_to": torch.tensor([7, 9])}, r"7 recordings and seed 9, not of \[7, 0\]"),
        ({"recordings": torch.tensor([0, 1]), "steps": torch.tensor([0, 0])}, "of 2 rows, the pool has 3"),
        ({"steps": torch.tensor([99, 0, 0])}, "step 99"),
        ({"recordings": torch.tensor([7, 0, 0])}, r"there are not: \[7\]"),
        ({"taken": None}, "has no 'taken'"),
    ],
)
def test_a_position_of_another_pool_is_refused(change: dict[str, Any], why: str) -> None:
    pool = pool_of()
    pool.next()
    state = {k: v for k, v in (pool.state_dict() | change).items() if v is not None}
    other = pool_of()
    with pytest.raises(ValueError, match=why):
        other.load_state_dict(state)
    assert other.state_dict()["taken"] == 0


@pytest.mark.parametrize("options", [{"rows": 0}, {"steps": 0}, {"epochs": 0}])
def test_numbers_out_of_range_are_named(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be at least 1, got 0"):
        pool_of(**options)
    with pytest.raises(ValueError, match="no recording"):
        RowPool([], rows=1, steps=1)
