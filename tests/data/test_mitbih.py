"""One record of many is cut out, in millivolts, with its own beats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tracetorch.data import DamagedFileError, mitbih


def write(directory: Path) -> Path:
    np.savez(
        directory / "mitbih12.npz",
        ecg=np.array([[0, 200, -200, 100], [2, 4, 6, 8]], dtype=np.int16),
        gain=np.float32(200),
        fs=np.float32(360),
        record=np.array(["100", "106"]),
        beat=np.array([1, 0, 2, 3]),
        beat_offsets=np.array([0, 1, 4]),
        beat_is_pvc=np.array([False, True, False, True]),
    )
    return directory / "mitbih12.npz"


def test_a_record_is_in_millivolts_with_its_beats(tmp_path: Path) -> None:
    write(tmp_path)
    record = mitbih(100, tmp_path)
    assert record.signal.tolist() == [0.0, 1.0, -1.0, 0.5] and record.signal.dtype == torch.float32
    assert record.beat.tolist() == [1] and record.rate == 360.0
    other = mitbih(106, tmp_path)
    assert other.beat.tolist() == [0, 2, 3] and other.pvc.tolist() == [True, False, True]


def test_an_unknown_record_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no record 999; it has \[100, 106\]"):
        mitbih(999, write(tmp_path))


def test_samples_of_another_kind_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path)
    arrays = dict(np.load(file))
    np.savez(file, **{**arrays, "ecg": np.full((2, 4), -(2**31), dtype=np.int64)})
    with pytest.raises(DamagedFileError, match=r"ecg.*int64"):
        mitbih(100, file)
