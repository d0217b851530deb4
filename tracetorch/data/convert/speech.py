"""The test set of Speech Commands from its archive."""

from __future__ import annotations

import io
import tarfile
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracetorch.data.files import UNREADABLE, DamagedFileError, given_file
from tracetorch.ops.require import require

CLASSES = ("_silence_", "_unknown_", "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
RATE = 8000


def clips(downloads: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield class, file name and content of each clip, by class and name, from the archive or the unpacked folder."""
    if downloads.is_dir() and any((downloads / name).is_dir() for name in CLASSES):
        for name in CLASSES:
            for file in sorted((downloads / name).glob("*.wav")):
                yield name, file.name, file.read_bytes()
        return
    name = "speech_commands_test_set_v0.02.tar.gz"
    archive = given_file(downloads / name if downloads.is_dir() else downloads, name)
    try:
        with tarfile.open(archive) as tar:
            found = {}
            for member in tar:
                label, _, clip = member.name.removeprefix("./").partition("/")
                content = tar.extractfile(member) if label in CLASSES and clip.endswith(".wav") else None
                if content is not None:
                    found[label, clip] = content.read()
    except (tarfile.TarError, *UNREADABLE) as error:
        raise DamagedFileError(archive, "content", f"no readable archive: {error}") from error
    for label, clip in sorted(found):
        yield label, clip, found[label, clip]


def speech(downloads: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read all clips at 8 kHz, each cut or padded to one second.

    The arrays are ``wave`` int16, all clips in a row; ``offsets`` ``[N + 1]``; ``label`` ``[N]``; ``speaker`` ``[N]``,
    -1 where it is unknown; ``classes``.
    """
    resample = require("scipy.signal").resample_poly
    waves: list[npt.NDArray[np.int16]] = []
    labels: list[int] = []
    people: list[int] = []
    numbers: dict[str, int] = {}
    for label, name, content in clips(downloads):
        try:
            with wave.open(io.BytesIO(content)) as sound:
                form = (sound.getnchannels(), sound.getsampwidth())
                rate, samples = sound.getframerate(), sound.readframes(sound.getnframes())
        except (wave.Error, EOFError) as error:
            raise DamagedFileError(downloads / label / name, "content", f"no readable WAV file: {error}") from error
        if form != (1, 2):
            raise DamagedFileError(downloads / label / name, "header", f"channels and bytes are {form}, not (1, 2)")
        clip = resample(np.frombuffer(samples, "<i2").astype(np.float32), RATE, rate)[:RATE]
        waves.append(np.pad(clip, (0, RATE - len(clip))).clip(-32768, 32767).astype(np.int16))
        labels.append(CLASSES.index(label))
        speaker = name.split("_nohash_")[0] if "_nohash_" in name else None
        people.append(-1 if speaker is None else numbers.setdefault(speaker, len(numbers)))
    if not waves:
        raise DamagedFileError(downloads, "content", f"there is no clip in folders {', '.join(CLASSES)}")
    return {
        "wave": np.concatenate(waves),
        "offsets": RATE * np.arange(len(waves) + 1, dtype=np.int64),
        "label": np.array(labels, np.uint8),
        "speaker": np.array(people, np.int16),
        "classes": np.array(CLASSES),
    }
