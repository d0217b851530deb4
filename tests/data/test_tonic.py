"""Tonic's data sets, slicers and caches feed recordings with the same counts as Tonic's own frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tracetorch.data import RowPool, TonicRecordings

tonic = pytest.importorskip("tonic", reason="needs the package tonic")

SIZE = (9, 7, 2)


class Synthetic(tonic.Dataset):
    """A Tonic data set without a download."""

    sensor_size = SIZE

    def __init__(self, fields: str = "txyp", transform: Any = None) -> None:
        super().__init__("", transform=transform)
        rng = np.random.default_rng(0)
        ranges = {"x": SIZE[0], "y": SIZE[1] if "y" in fields else 1, "p": SIZE[2]}
        for n in (300, 50, 700):
            columns = {name: rng.integers(0, ranges.get(name, 1), n) for name in fields}
            columns["t"] = np.sort(rng.integers(1000, 1000 + 20 * n, n))
            dtype = np.dtype([(name, np.int64 if name == "t" else np.int16) for name in fields])
            self.data.append(tonic.io.make_structured_array(*(columns[f] for f in fields), dtype=dtype))
            self.targets.append(n % 10)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        events = self.data[index]
        return (events if self.transform is None else self.transform(events)), self.targets[index]


@pytest.mark.parametrize("fields", ["txyp", "txp"])
def test_counts_are_those_of_tonics_frames(fields: str) -> None:
    data = Synthetic(fields)
    frames = tonic.transforms.ToFrame(SIZE if "y" in fields else (9, 1, 2), time_window=97, include_incomplete=True)
    ours = TonicRecordings(data, sensor_size=SIZE, dt=97)
    assert len(ours) == 3
    for i, (recording, target) in enumerate(ours):
        expected = torch.from_numpy(frames(data[i][0])).float()
        got = recording.window(0, recording.steps)
        assert target == data.targets[i] and expected.sum() > 40
        assert got.shape[1:] == expected.shape[1:]
        assert abs(len(got) - len(expected)) <= 1  # Tonic leaves out an event that lies on the last edge
        steps = min(len(got), len(expected))
        assert torch.equal(got[:steps], expected[:steps]) and got[steps:].sum() <= 3


def test_slices_and_caches(tmp_path: Path) -> None:
    slicer = tonic.slicers.SliceByTime(time_window=2000)
    sliced = tonic.SlicedDataset(Synthetic(), slicer=slicer, metadata_path=str(tmp_path / "meta"))
    assert len(sliced) > 5
    plain = [r.window(0, r.steps) for r, _ in TonicRecordings(sliced, sensor_size=SIZE, dt=100)]
    for cached in (
        tonic.MemoryCachedDataset(sliced),
        tonic.DiskCachedDataset(sliced, cache_path=str(tmp_path / "cache")),
    ):
        for _ in range(2):  # the second time from the cache
            again = [r.window(0, r.steps) for r, _ in TonicRecordings(cached, sensor_size=SIZE, dt=100)]
            assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert sum(float(x.sum()) for x in plain) > 500


def test_transforms_on_events_work_as_they_are() -> None:
    data = Synthetic(transform=tonic.transforms.Downsample(spatial_factor=0.5))
    recording, _ = TonicRecordings(data, sensor_size=(5, 4, 2), dt=100)[0]
    assert recording.shape == (2, 4, 5) and recording.window(0, recording.steps).sum() > 100


def test_a_pool_reads_them_side_by_side() -> None:
    pool = RowPool(TonicRecordings(Synthetic(), sensor_size=SIZE, dt=100), rows=2, steps=16)
    total = sum(float(window.xs.sum()) for window in pool)
    assert total == 300 + 50 + 700


def test_what_is_wrong_is_named() -> None:
    frames = Synthetic(transform=tonic.transforms.ToFrame(SIZE, time_window=100))
    with pytest.raises(
        ValueError, match=r"recording 1: events must be a structured array.*without a transform to frames"
    ):
        TonicRecordings(frames, sensor_size=SIZE, dt=100)[1]
    with pytest.raises(ValueError, match=r"recording 0: x must be between 0 and 4.*sensor_size"):
        TonicRecordings(Synthetic(), sensor_size=(5, 7, 2), dt=100)[0]
    with pytest.raises(ValueError, match="width, height, polarities"):
        TonicRecordings(Synthetic(), sensor_size=(5, 7), dt=100)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="recording 2: dt"):
        TonicRecordings(Synthetic(), sensor_size=SIZE, dt=0)[2]
    with pytest.raises(IndexError, match="3 recordings"):
        TonicRecordings(Synthetic(), sensor_size=SIZE, dt=100)[3]
