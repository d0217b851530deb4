"""Read one's own recordings: tables, arrays and sound. A file is checked as a whole before anything is given out."""

from __future__ import annotations

import csv
import math
import os
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracetorch.data.files import UNREADABLE, DamagedFileError, given_file
from tracetorch.data.recordings import DenseRecording

CHUNK = 2**20
"""Number of values that are checked at a time, so that a mapped file is never read into memory as a whole."""


def read_csv(
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str | int] | None = None,
    delimiter: str = ",",
    rate: float | None = None,
) -> DenseRecording:
    """Read a table of numbers, one time step a line.

    Args:
        path: the file, in UTF-8. A first line that is not all numbers names the columns.
        columns: names or places of the columns to take, in this order; all by default.
        delimiter: what is between two cells.
        rate: samples a second, where it is known.

    Returns:
        The recording, `[T, columns]`.

    Raises:
        DataNotFoundError: the file is absent.
        DamagedFileError: a line has another number of cells than the first, or a cell is not a finite number.

    Example:
        >>> import tempfile, pathlib, tracetorch as tt
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "walk.csv"
        >>> _ = file.write_text("x,y,z\\n1,2,3\\n4,5,6\\n")
        >>> tt.data.read_csv(file, columns=["z", "x"]).window(0, 2)
        tensor([[3., 1.],
                [6., 4.]])
    """
    file = given_file(path, "a CSV file")
    names: list[str] | None = None
    rows: list[list[float]] = []
    width, places = 0, []
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter=delimiter)
            for cells in reader:
                number = reader.line_num
                if not any(cell.strip() for cell in cells):
                    continue
                if not width:
                    width = len(cells)
                    if any(_number(cell) is None for cell in cells):
                        names = [cell.strip() for cell in cells]
                    places = _places(file, columns, names, width)
                    if names:
                        continue
                if len(cells) != width:
                    raise DamagedFileError(file, f"line {number}", f"{len(cells)} cells, the first line has {width}")
                rows.append([_finite(file, cells[place], number, place) for place in places])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DamagedFileError(file, "content", f"no table of text in UTF-8: {error}") from error
    if not rows:
        raise DamagedFileError(file, "content", "no line of numbers")
    return DenseRecording(np.array(rows, dtype=np.float32), rate=rate)


def _places(file: Path, columns: Sequence[str | int] | None, names: list[str] | None, width: int) -> list[int]:
    places = []
    for column in range(width) if columns is None else columns:
        if isinstance(column, str):
            if names is None or column not in names:
                raise DamagedFileError(file, f"column {column!r}", f"no such column; the file has {names or width}")
            places.append(names.index(column))
        elif 0 <= column < width:
            places.append(column)
        else:
            raise DamagedFileError(file, f"column {column}", f"no such column; the file has {width}, from 0 on")
    return places


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _finite(file: Path, cell: str, line: int, place: int) -> float:
    value = _number(cell)
    if value is None or not math.isfinite(value):
        raise DamagedFileError(file, f"line {line}, column {place}", f"no finite number: {cell[:40]!r}")
    return value


def read_npy(path: str | os.PathLike[str], *, rate: float | None = None) -> DenseRecording:
    """Map an array `[T, ...]` of NumPy's format; a window is read when it is requested.

    Args:
        path: the file, as `numpy.save` writes it.
        rate: samples a second, where it is known.

    Returns:
        The recording.

    Raises:
        DataNotFoundError: the file is absent.
        DamagedFileError: it is no such array, is cut short, or holds a value that is not finite.

    Example:
        >>> import tempfile, numpy as np, tracetorch as tt
        >>> file = f"{tempfile.mkdtemp()}/walk.npy"
        >>> np.save(file, np.arange(6.0).reshape(3, 2))
        >>> recording = tt.data.read_npy(file, rate=100.0)
        >>> recording.steps, recording.window(1, 2)
        (3, tensor([[2., 3.]]))
    """
    file = given_file(path, "an npy file")
    try:
        values: npt.NDArray[np.generic] = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise DamagedFileError(file, "content", "an npz archive; load_arrays reads those")
        recording = DenseRecording(values, rate=rate)
    except DamagedFileError:
        raise
    except UNREADABLE as error:
        raise DamagedFileError(file, "content", f"no array in NumPy's npy format: {error}") from error
    flat = values.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        if values.dtype.kind == "f" and not np.isfinite(flat[start : start + CHUNK]).all():
            bad = start + int(np.argmin(np.isfinite(flat[start : start + CHUNK])))
            place = tuple(int(i) for i in np.unravel_index(bad, values.shape))
            raise DamagedFileError(file, f"value {list(place)}", "not finite")
    return recording


def read_wav(path: str | os.PathLike[str]) -> DenseRecording:
    """Read sound: uncompressed samples (PCM) of 8, 16, 24 or 32 bits, scaled to -1..1.

    Args:
        path: the file.

    Returns:
        The recording, `[T, channels]`, with its rate.

    Raises:
        DataNotFoundError: the file is absent.
        DamagedFileError: it is no such file, or has fewer samples than its header says.

    Example:
        >>> import tempfile, wave, tracetorch as tt
        >>> file = f"{tempfile.mkdtemp()}/tone.wav"
        >>> with wave.open(file, "wb") as sound:
        ...     sound.setparams((1, 2, 16000, 0, "NONE", ""))
        ...     sound.writeframes(bytes([0, 64]) * 100)
        >>> recording = tt.data.read_wav(file)
        >>> recording.steps, recording.window(0, 1)
        (100, tensor([[0.5000]]))
    """
    file = given_file(path, "a WAV file")
    try:
        with wave.open(str(file), "rb") as sound:
            channels, width, rate, count = sound.getparams()[:4]
            raw = sound.readframes(count)
    except (wave.Error, EOFError, OSError, RuntimeError) as error:
        raise DamagedFileError(file, "header", f"no uncompressed WAV file: {error or 'it ends too early'}") from error
    if len(raw) != count * channels * width:
        raise DamagedFileError(file, "samples", f"{len(raw)} bytes, the header says {count * channels * width}")
    if width == 1:
        values = (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    elif width == 3:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        values = wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    else:
        values = np.frombuffer(raw, f"<i{width}").astype(np.float32) / 2 ** (8 * width - 1)
    return DenseRecording(values.reshape(-1, channels), rate=float(rate))
