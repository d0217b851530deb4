"""Data files made from downloads in their original form: read back by the readers, damaged ones refused in one line."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tracetorch import data
from tracetorch.cli.app import app
from tracetorch.data.convert import SOURCES, make_data_file
from tracetorch.data.convert.motion import COLUMNS, LABELS
from tracetorch.data.convert.physionet import RECORDS, read_beats, read_signal
from tracetorch.data.convert.speech import CLASSES
from tracetorch.train.tasks import TASKS

Rng = np.random.Generator


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_images(folder: Path, *, packed: bool) -> dict[str, np.ndarray]:
    rng, written = np.random.default_rng(0), {}
    for part, name, count in (("train", "train", 30), ("t10k", "test", 20)):
        for key, kind, shape, top in (("x", "images-idx3", (count, 28, 28), 256), ("y", "labels-idx1", (count,), 10)):
            written[f"{key}_{name}"] = rng.integers(0, top, shape, dtype=np.uint8)
            content = idx(written[f"{key}_{name}"])
            file = folder / f"{part}-{kind}-ubyte{'.gz' if packed else ''}"
            file.write_bytes(gzip.compress(content) if packed else content)
    return written


def annotation(code: int, interval: int) -> bytes:
    return struct.pack("<H", code << 10 | interval)


def write_record(folder: Path, name: str, samples: np.ndarray, marks: list[tuple[int, int]]) -> None:
    """Write a record as PhysioNet does: two signals of twelve bits, marks as intervals."""
    both = np.stack([samples, samples[::-1]], -1).reshape(-1).astype(int) & 0xFFF
    a, b = both[0::2], both[1::2]
    (folder / f"{name}.dat").write_bytes(
        np.stack([a & 0xFF, (a >> 8) | (b >> 8) << 4, b & 0xFF], -1).astype(np.uint8).tobytes()
    )
    checksum = struct.unpack("<h", struct.pack("<H", int(samples.sum()) % 2**16))[0]
    line = f"{name}.dat 212 200 11 1024 {samples[0]} {checksum} 0 MLII"
    (folder / f"{name}.hea").write_text(f"{name} 2 360 {len(samples)}\n{line}\n{line}\n# 69 M\n")
    content, before = annotation(28, 5) + annotation(63, 3) + b"(N\0\0", 5
    for sample, code in marks:
        step = sample - before
        if step > 1023:
            content += annotation(59, 0) + struct.pack("<HH", step >> 16, step & 0xFFFF) + annotation(code, 0)
        else:
            content += annotation(code, step)
        content += annotation(62, 1)  # a channel's number: no time
        before = sample
    (folder / f"{name}.atr").write_bytes(content + b"\0\0")


def write_ecg(folder: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    signals, marks = [], []
    for name in RECORDS:
        signals.append(rng.integers(-900, 1000, 90_000))
        times = np.sort(rng.choice(90_000, 40, replace=False))
        times[-1] = times[-2] + 70_000 if times[-2] < 19_000 else times[-1]
        codes = rng.choice([1, 2, 5, 8, 14, 28, 41], 40)  # the fifth and sixth are no beats
        marks.append((times, codes))
        write_record(folder, name, signals[-1], list(zip(times.tolist(), codes.tolist(), strict=True)))
    keep = [~np.isin(codes, (14, 28)) for _, codes in marks]
    return {
        "ecg": np.stack(signals) - 1024,
        "beat": np.concatenate([t[k] for (t, _), k in zip(marks, keep, strict=True)]),
        "beat_is_pvc": np.concatenate([c[k] == 5 for (_, c), k in zip(marks, keep, strict=True)]),
    }


def sound(samples: np.ndarray, rate: int = 16000) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def write_speech(folder: Path, *, archive: bool) -> int:
    """Write two clips per class: one of a known speaker, one not; slow tones, which resampling leaves alone."""
    clips = {}
    for number, name in enumerate(CLASSES):
        tone = 8000 * np.sin(2 * np.pi * 100 * np.arange(16000 - 100 * number) / 16000)
        clips[f"{name}/{number % 5:08x}_nohash_0.wav"] = clips[f"{name}/{number}.wav"] = sound(tone)
    if archive:
        with tarfile.open(folder / "speech_commands_test_set_v0.02.tar.gz", "w:gz") as tar:
            for name, content in clips.items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    else:
        for name, content in clips.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
    return len(clips)


def write_motion(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    rng, xs, ys = np.random.default_rng(2), [], []
    for person in range(1, 11):
        for device in ("sp", "sw"):
            x, y = rng.normal(size=(250, 6)).astype(np.float32), rng.integers(0, 5, 250)
            place = folder / f"s{person:02}" / f"s{person:02}_01_{device}.csv"
            place.parent.mkdir(exist_ok=True)
            rows = [",".join(["timestamp", *COLUMNS, "label"])]
            rows += [",".join(["0", *map(str, a), LABELS[b]]) for a, b in zip(x.tolist(), y, strict=True)]
            place.write_text("\n".join(rows) + "\n")
            xs.append(x)
            ys.append(y)
    (folder / "subjects_info.csv").write_text("id,age\n")
    return np.concatenate(xs), np.concatenate(ys)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion"])
def test_images(name: str, packed: bool, tmp_path: Path) -> None:
    written = write_images(tmp_path, packed=packed)
    with np.load(make_data_file(name, tmp_path, tmp_path)) as archive:
        assert all(np.array_equal(archive[key], value) for key, value in written.items())


def test_electrocardiograms_are_those_of_the_reader(tmp_path: Path) -> None:
    written = write_ecg(tmp_path)
    file = make_data_file("ecg", tmp_path, tmp_path / "made")
    with np.load(file) as archive:
        assert all(np.array_equal(archive[key], value) for key, value in written.items())
    record = data.mitbih(106, file)
    assert record.rate == 360
    np.testing.assert_allclose(record.signal, written["ecg"][4] / 200, rtol=1e-6)
    assert int(record.pvc.sum()) > 0


def test_records_that_physionets_own_program_wrote(tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb", reason="needs wfdb")
    rng = np.random.default_rng(3)
    signal = rng.integers(-2000, 2000, (5000, 2))
    wfdb.wrsamp(
        "106", fs=360, units=["mV"] * 2, sig_name=["MLII", "V1"], d_signal=signal, fmt=["212"] * 2,
        adc_gain=[200.0] * 2, baseline=[1024] * 2, write_dir=str(tmp_path),
    )  # fmt: skip
    samples, symbols = np.array([10, 700, 701, 3000, 4990]), ["N", "V", "+", "~", "r"]
    wfdb.wrann("106", "atr", samples, symbols, aux_note=["", "", "(B", "", ""], write_dir=str(tmp_path))
    own = wfdb.rdrecord(str(tmp_path / "106"), physical=False)
    found = read_signal(tmp_path / "106.dat", tmp_path / "106.hea")
    assert np.array_equal(found, own.d_signal[:, 0] - own.adc_zero[0])
    assert read_beats(tmp_path / "106.atr") == ([10, 700, 4990], [False, True, False])


@pytest.mark.parametrize("archive", [True, False])
def test_speech(archive: bool, tmp_path: Path) -> None:
    count = write_speech(tmp_path, archive=archive)
    file = make_data_file("speech", tmp_path, tmp_path / "made")
    with np.load(file) as made:
        waves = made["wave"].reshape(count, 8000)
        assert made["label"].tolist() == [k for k in range(12) for _ in range(2)]
        assert set(made["speaker"][made["label"] == 3].tolist()) == {-1, 3}
        tone = 8000 * np.sin(2 * np.pi * 100 * np.arange(8000) / 8000)
        assert np.abs(waves[0] - tone)[100:-100].max() < 20
        assert not waves[-1][-550:].any()  # padded
    TASKS["speech"](data=str(file)).prepare()


def test_motion(tmp_path: Path) -> None:
    x, y = write_motion(tmp_path)
    file = make_data_file("har", tmp_path, tmp_path / "made")
    with np.load(file) as made:
        assert np.array_equal(made["x"], x)
        assert np.array_equal(made["label"], y)
        assert made["offsets"].tolist() == list(range(0, 5001, 250))
        assert made["subject"].tolist() == [k for k in range(1, 11) for _ in range(2)]
        assert made["device"].tolist() == [0, 1] * 10
    TASKS["har"](data=str(file)).prepare()


Damage = Callable[[Path], object]


def cut(name: str, size: int) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / name
        file.write_bytes(file.read_bytes()[:size])

    return damage


def replaced(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("mnist", lambda f: (f / "t10k-labels-idx1-ubyte").unlink(), "t10k-labels-idx1-ubyte"),
        ("mnist", cut("train-images-idx3-ubyte", 500), "length: 500 bytes, but the header says"),
        ("mnist", cut("train-images-idx3-ubyte", 5), "length"),
        ("mnist", replaced("train-labels-idx1-ubyte", b"<html>"), "no IDX file of bytes"),
        ("mnist", replaced("train-labels-idx1-ubyte", b"\x1f\x8b no"), "not readable by gzip"),
        ("mnist", replaced("train-labels-idx1-ubyte", idx(np.zeros(3, np.uint8))), "30 images and 3 labels"),
        ("ecg", lambda f: (f / "200.atr").unlink(), "200.atr"),
        ("ecg", cut("100.dat", 900), "length: 900 bytes"),
        ("ecg", cut("100.atr", 20), "no end mark"),
        ("ecg", cut("100.hea", 5), "no header of a record"),
        ("ecg", replaced("100.dat", bytes(270_000)), "checksum"),
        ("speech", replaced("up/10.wav", b"RIFF"), "10.wav"),
        ("speech", replaced("up/10.wav", sound(np.zeros(9))[:30]), "10.wav"),
        ("har", replaced("s01/s01_01_sp.csv", b"a,b\n1,2\n"), "line 1: there is no column label"),
        ("har", cut("s01/s01_01_sp.csv", 400), "line "),
    ],
)
def test_damaged_downloads_are_refused_in_one_line(name: str, damage: Damage, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    writers: dict[str, Callable[[], object]] = {
        "mnist": lambda: write_images(folder, packed=False),
        "ecg": lambda: write_ecg(folder),
        "speech": lambda: write_speech(folder, archive=False),
        "har": lambda: write_motion(folder),
    }
    writers[name]()
    damage(folder)
    said = CliRunner().invoke(app, ["data", name, str(folder), "--to", str(tmp_path / "made")])
    assert said.exit_code == 2, said.output
    assert message in said.stderr
    assert said.stderr.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_a_damaged_archive_of_sounds(tmp_path: Path) -> None:
    write_speech(tmp_path, archive=True)
    archive = tmp_path / "speech_commands_test_set_v0.02.tar.gz"
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(data.DamagedFileError, match="no readable archive"):
        make_data_file("speech", tmp_path, tmp_path)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner()
    rows = json.loads(run.invoke(app, ["data", "--json"]).stdout)["data"]
    assert {row["data"] for row in rows} == set(SOURCES)
    assert {task for row in rows for task in row["for the tasks"].split(", ")} <= set(TASKS)
    needed = {name for name, task in TASKS.items() if task.__dataclass_fields__.get("data")}
    assert {task for source in SOURCES.values() for task in source.tasks} >= needed
    assert "ODC-By" in run.invoke(app, ["data", "ecg"]).stdout
    write_images(tmp_path, packed=True)
    monkeypatch.setenv("TRACETORCH_DATA", str(tmp_path / "files"))
    said = run.invoke(app, ["data", "mnist", str(tmp_path), "--json"])
    assert json.loads(said.stdout)["arrays"]["x_train"] == [30, 28, 28]
    again = run.invoke(app, ["data", "mnist", str(tmp_path)])
    assert again.exit_code == 2
    assert "nothing is overwritten" in again.stderr
    assert "no data file 'nope'" in run.invoke(app, ["data", "nope"]).stderr
