"""Half-hour electrocardiograms with every beat marked."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.data.files import find_file, load_arrays


@dataclass(frozen=True, eq=False)
class ECGRecord:
    """Hold one record as a stream.

    Attributes:
        number: The record's number in the database.
        signal: ``[T]``, millivolts, float32.
        beat: ``[beats]``, the time step of each beat's mark, int64, increasing.
        pvc: ``[beats]``, whether the beat is a premature ventricular contraction, bool.
        rate: Samples a second.
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
        ValueError: The file is not what it should be, or has no such record.

    Reference:
        "The impact of the MIT-BIH Arrhythmia Database", G. B. Moody, R. G. Mark, 2001,
        https://doi.org/10.1109/51.932724
    """
    file = find_file("mitbih12.npz", path)
    arrays = load_arrays(file, ("ecg", "gain", "fs", "record", "beat", "beat_offsets", "beat_is_pvc"))
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
