"""Human activity by telephone and watch, from the archive of its authors."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracetorch.data.files import DamagedFileError, DataNotFoundError

COLUMNS = ("x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro")
LABELS = ("SEATED", "STANDING_UP", "WALKING", "TURNING", "SITTING_DOWN")
FILE = re.compile(r"s(\d+)_(\d+)_(sp|sw)\.csv")
"""Person, execution, and telephone or watch."""


def read_recording(file: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Read acceleration and rotation ``[samples, 6]`` and the activity ``[samples]`` of a table with a row of names."""
    with file.open(newline="", encoding="utf-8") as lines:
        table = csv.DictReader(lines)
        lacking = {*COLUMNS, "label"} - {*(table.fieldnames or ())}
        if lacking:
            raise DamagedFileError(file, "line 1", f"there is no column {', '.join(sorted(lacking))}")
        x, y = [], []
        for number, row in enumerate(table, 2):
            try:
                x.append([float(row[name]) for name in COLUMNS])
                y.append(LABELS.index(row["label"]))
            except (TypeError, ValueError) as error:
                raise DamagedFileError(file, f"line {number}", str(error)) from error
    return np.array(x, np.float32).reshape(-1, 6), np.array(y, np.uint8)


def motion(downloads: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read all recordings, as they were sampled (about 100 Hz), in the order of their names.

    `downloads` is the unpacked archive, with files ``s01/s01_01_sp.csv`` and so on in folders by person. The arrays are
    ``x`` ``[samples, 6]``, ``label`` ``[samples]``, ``offsets`` ``[recordings + 1]``, ``subject``, ``execution`` and
    ``device`` ``[recordings]``, and the names of labels and devices.
    """
    files = sorted(file for file in downloads.rglob("*.csv") if FILE.fullmatch(file.name))
    if not files:
        raise DataNotFoundError(f"no recording s01_01_sp.csv or the like is in {str(downloads)!r}: unpack the archive")
    parts = [read_recording(file) for file in files]
    names = [FILE.fullmatch(file.name) for file in files]
    found = [(int(m[1]), int(m[2]), m[3] == "sw") for m in names if m is not None]
    return {
        "x": np.concatenate([x for x, _ in parts]),
        "label": np.concatenate([y for _, y in parts]),
        "offsets": np.cumsum([0, *(len(y) for _, y in parts)], dtype=np.int64),
        "subject": np.array([person for person, _, _ in found], np.uint8),
        "execution": np.array([execution for _, execution, _ in found], np.uint8),
        "device": np.array([watch for _, _, watch in found], np.uint8),
        "labels": np.array(LABELS),
        "devices": np.array(["phone", "watch"]),
    }
