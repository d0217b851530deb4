"""Twelve records of the MIT-BIH arrhythmia database from PhysioNet's own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracetorch.data.files import DamagedFileError, given_file

RECORDS = ("100", "102", "104", "105", "106", "108", "114", "116", "119", "121", "123", "200")
BEATS = frozenset((*range(1, 14), 25, 30, 34, 35, 38, 41))
"""Codes of annotations that mark a beat; the others mark rhythm, noise and comments."""
PVC = 5
SKIP, NOTE, LONGEST = 59, 63, 62


def read_header(file: Path) -> tuple[int, float, list[list[str]]]:
    """Read a header ``.hea``: samples per signal, samples a second, and a list of words for each signal."""
    text = given_file(file, "a header of PhysioNet").read_text(encoding="ascii", errors="replace")
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        _, signals, rate, samples, *_ = lines[0]
        return int(samples), float(rate.split("/")[0]), [line for line in lines[1 : 1 + int(signals)] if line[8:]]
    except (IndexError, ValueError) as error:
        raise DamagedFileError(file, "header", f"no header of a record: {error}") from error


def read_signal(file: Path, header: Path) -> npt.NDArray[np.int16]:
    """Read the first of two signals in format 212, ``[samples]`` in units of the converter, and compare the checksum.

    Two numbers of twelve bits stand in three bytes: "signal(5)" of the WFDB applications guide,
    https://physionet.org/physiotools/wag/signal-5.htm
    """
    samples, _, signals = read_header(header)
    if len(signals) != 2 or any(words[1] != "212" for words in signals):
        raise DamagedFileError(header, "format", "expected two signals in format 212")
    raw = np.frombuffer(given_file(file, "a signal of PhysioNet").read_bytes(), np.uint8)
    if len(raw) != 3 * samples:
        raise DamagedFileError(file, "length", f"{len(raw)} bytes, but {samples} samples of two signals are expected")
    first = raw[0::3].astype(np.int16) | (raw[1::3].astype(np.int16) & 0x0F) << 8
    first = np.where(first > 2047, first - 4096, first).astype(np.int16)
    zero, checksum = int(signals[0][4]), int(signals[0][6])
    if (int(first.sum(dtype=np.int64)) - checksum) % 2**16:
        raise DamagedFileError(file, "checksum", f"the samples do not have the header's checksum, {checksum}")
    return (first - zero).astype(np.int16)


def read_beats(file: Path) -> tuple[list[int], list[bool]]:
    """Read the sample of each beat's mark in a file ``.atr``, and whether it is a premature ventricular contraction.

    Source of the format: "annot(5)" of the WFDB applications guide, https://physionet.org/physiotools/wag/annot-5.htm
    """
    raw = given_file(file, "annotations of PhysioNet").read_bytes()
    words = np.frombuffer(raw[: len(raw) // 2 * 2], "<u2").tolist()
    time, place = 0, 0
    beats: list[int] = []
    pvc: list[bool] = []
    while place < len(words) and words[place] != 0:
        code, interval = words[place] >> 10, words[place] & 0x3FF
        place += 1
        if code == SKIP and place + 2 <= len(words):  # an interval of 32 bits with a sign, high word first
            long = words[place] << 16 | words[place + 1]
            time += long - (long >> 31 << 32)
            place += 2
        elif code == NOTE:  # text of so many bytes
            place += (interval + 1) // 2
        elif code < SKIP:
            time += interval
            if code in BEATS:
                beats.append(time)
                pvc.append(code == PVC)
        elif code > LONGEST:
            break
    if place >= len(words):
        raise DamagedFileError(file, "end", "there is no end mark: the file is cut off, or of another form")
    return beats, pvc


def mitbih(downloads: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read the twelve records from the folder of ``100.hea``, ``100.dat``, ``100.atr`` and those of the others.

    The arrays are ``ecg`` ``[12, T]`` int16, ``record``, ``gain`` (units per mV), ``fs``, ``beat``, ``beat_is_pvc`` and
    ``beat_offsets``.
    """
    ecg, beats, pvc, offsets = [], [], [], [0]
    for name in RECORDS:
        header = downloads / f"{name}.hea"
        ecg.append(read_signal(downloads / f"{name}.dat", header))
        if len(ecg[-1]) != len(ecg[0]):
            raise DamagedFileError(header, "samples", f"{len(ecg[-1])}, but record {RECORDS[0]} has {len(ecg[0])}")
        marks, early = read_beats(downloads / f"{name}.atr")
        beats += marks
        pvc += early
        offsets.append(len(beats))
    rate, gain = read_header(downloads / f"{RECORDS[0]}.hea")[1], 200.0
    return {
        "ecg": np.stack(ecg),
        "record": np.array(RECORDS),
        "gain": np.float32(gain),
        "fs": np.float32(rate),
        "beat": np.array(beats, np.int64),
        "beat_is_pvc": np.array(pvc, bool),
        "beat_offsets": np.array(offsets, np.int64),
    }
