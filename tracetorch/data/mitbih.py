"""Half-hour electrocardiograms with every beat marked."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracetorch.data.files import DamagedFileError, find_file, load_arrays


@dataclass(frozen=True, eq=False)
class ECGRecord:
    """One record, as a stream.

    Attributes:
        number: The record's number in the database.
        signal: ``[T]``, millivolts, float32.
        beat: ``[beats]``, the time step of each beat's mark, int64, increasing.
        pvc: ``[beats]``, whether the beat is a premature ventricular contraction, bool.
        rate: Samples a second.

    Example:
        >>> import torch, tracetorch as tt
        >>> beat, pvc = torch.tensor([90, 400]), torch.tensor([False, True])
        >>> record = tt.data.ECGRecord(106, torch.zeros(720), beat, pvc, rate=360.0)
        >>> record.beat[record.pvc] / record.rate  # seconds
        tensor([1.1111])
    """

    number: int
    signal: Tensor
    beat: Tensor
    pvc: Tensor
    rate: float


def mitbih(record: int, path: str | os.PathLike[str] | None = None) -> ECGRecord:
    """Read one record of the MIT-BIH arrhythmia database from ``mitbih12.npz``.

    The file's arrays: ``ecg`` int16 ``[records, T]``, ``gain`` (units per millivolt), ``fs`` (hertz),
    ``record`` (names), ``beat`` and ``beat_is_pvc`` of all records in a row, cut by ``beat_offsets``.

    Args:
        record: The record's number, for example 106.
        path: The file or its directory; None takes the environment variable ``TRACETORCH_DATA``.

    Returns:
        The record.

    Raises:
        DataNotFoundError: The file is absent.
        DamagedFileError: The file is not what it should be.
        ValueError: It has no such record.

    Source: "The impact of the MIT-BIH Arrhythmia Database", G. B. Moody, R. G. Mark, 2001,
    https://doi.org/10.1109/51.932724

    Example:
        >>> import tempfile, numpy as np, tracetorch as tt
        >>> arrays = {"ecg": np.zeros((1, 720), np.int16), "gain": 200, "fs": 360, "record": np.array(["106"])}
        >>> beats = {"beat": np.array([90, 400]), "beat_is_pvc": np.array([0, 1]), "beat_offsets": np.array([0, 2])}
        >>> file = f"{tempfile.mkdtemp()}/mitbih12.npz"
        >>> np.savez(file, **arrays, **beats)  # instead of the real ones
        >>> record = tt.data.mitbih(106, file)
        >>> record.signal.shape, record.beat[record.pvc]
        (torch.Size([720]), tensor([400]))
    """
    file = find_file("mitbih12.npz", path)
    arrays = load_arrays(file, ("ecg", "gain", "fs", "record", "beat", "beat_offsets", "beat_is_pvc"))
    _check(file, arrays)
    numbers = [int(name) for name in arrays["record"].astype(str)]
    if record not in numbers:
        raise ValueError(f"{str(file)!r} has no record {record}; it has {numbers}")
    row = numbers.index(record)
    start, stop = (int(offset) for offset in arrays["beat_offsets"][row : row + 2])
    signal = torch.from_numpy(arrays["ecg"][row].astype("float32")) / float(arrays["gain"])
    return ECGRecord(
        number=record,
        signal=signal,
        beat=torch.from_numpy(arrays["beat"][start:stop]).to(torch.int64),
        pvc=torch.from_numpy(arrays["beat_is_pvc"][start:stop]).to(torch.bool),
        rate=float(arrays["fs"]),
    )


def _check(file: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Check kinds, shapes and ranges of the file's arrays."""
    ecg, record, beat = arrays["ecg"], arrays["record"], arrays["beat"]
    offsets, pvc = arrays["beat_offsets"], arrays["beat_is_pvc"]
    rows, one = len(record) if record.ndim == 1 else -1, (arrays["gain"], arrays["fs"])
    right = {
        "record": record.ndim == 1 and record.dtype.kind in "iuUS" and all(n.isdecimal() for n in record.astype(str)),
        "ecg": ecg.ndim == 2 and ecg.dtype == np.int16 and len(ecg) == rows,
        "gain": one[0].size == 1 and one[0].dtype.kind in "iuf" and bool(0 < one[0].item() < math.inf),
        "fs": one[1].size == 1 and one[1].dtype.kind in "iuf" and bool(0 < one[1].item() < math.inf),
        "beat": beat.ndim == 1 and beat.dtype.kind in "iu",
        "beat_is_pvc": pvc.shape == beat.shape and (pvc.dtype.kind == "b" or set(pvc.flat) <= {0, 1}),
        "beat_offsets": offsets.shape == (rows + 1,) and offsets.dtype.kind in "iu",
    }
    if all(right.values()):
        edges = offsets.astype(int)
        right["beat_offsets"] = edges[0] == 0 and edges[-1] == len(beat) and bool((np.diff(edges) >= 0).all())
    if all(right.values()):
        steps = beat.astype(int)
        inside = bool(((steps >= 0) & (steps < ecg.shape[1])).all())
        right["beat"] = inside and all((np.diff(steps[a:b]) > 0).all() for a, b in pairwise(edges))
    for field, fine in right.items():
        if not fine:
            array = arrays[field]
            raise DamagedFileError(file, field, f"wrong kind, shape or values: {array.dtype} {list(array.shape)}")
