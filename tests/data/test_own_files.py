"""One's own files: what is read is what was written, and a bad file is named in one line, with nothing half read."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from tracetorch.data import DamagedFileError, DataNotFoundError, HDF5Events, read_csv, read_npy, read_wav


def one_line(error: Exception) -> str:
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize("read", [read_csv, read_npy, read_wav])
def test_an_absent_file_and_a_directory_are_named(read, tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"nothing' is no file: an? \w+ file is expected"):
        read(tmp_path / "nothing")
    with pytest.raises(DataNotFoundError, match="is a directory"):
        read(tmp_path)


class TestCSV:
    def test_with_and_without_names(self, tmp_path: Path) -> None:
        file = tmp_path / "a.csv"
        file.write_text("t;x;y\n0;1.5;2\n\n1;-3e1;4\n", encoding="utf-8-sig")
        assert read_csv(file, delimiter=";").window(0, 2).tolist() == [[0, 1.5, 2], [1, -30, 4]]
        assert read_csv(file, delimiter=";", columns=["y", 0], rate=5.0).window(1, 2).tolist() == [[4, 1]]
        file.write_text("1,2\n3,4\n")
        assert read_csv(file, columns=[1]).window(0, 2).tolist() == [[2], [4]]

    @pytest.mark.parametrize(
        ("text", "options", "why"),
        [
            (b"1,2\n3\n", {}, "line 2: 1 cells, the first line has 2"),
            (b"x,y\n\n1,2\n3,nan\n", {}, "line 4, column 1: no finite number: 'nan'"),
            (b"x,y\n1,two\n", {}, "line 2, column 1: no finite number: 'two'"),
            (b"x,y\n1,2\n", {"columns": ["z"]}, r"column 'z': no such column; the file has \['x', 'y'\]"),
            (b"1,2\n", {"columns": [2]}, "column 2: no such column; the file has 2"),
            (b"", {}, "no line of numbers"),
            (b"x,y\n", {}, "no line of numbers"),
            (b"\xff\xfe\x00", {}, "no table of text in UTF-8"),
        ],
    )
    def test_bad_tables(self, text: bytes, options: dict, why: str, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(text)
        with pytest.raises(DamagedFileError, match=why) as error:
            read_csv(tmp_path / "a.csv", **options)
        one_line(error.value)


class TestNPY:
    def test_it_is_mapped_not_read(self, tmp_path: Path) -> None:
        values = np.random.rand(50, 2, 3)
        np.save(tmp_path / "a.npy", values)
        recording = read_npy(tmp_path / "a.npy")
        assert isinstance(recording._values, np.memmap) and recording.shape == (2, 3)
        assert torch.equal(recording.window(10, 20), torch.from_numpy(values[10:20].astype(np.float32)))

    def test_bad_arrays(self, tmp_path: Path) -> None:
        file = tmp_path / "a.npy"
        np.save(file, np.zeros((50, 2)))
        whole = file.read_bytes()
        np.save(file, np.array([[0.0, 1.0], [2.0, np.inf]]))
        with pytest.raises(DamagedFileError, match=r"value \[1, 1\]: not finite"):
            read_npy(file)
        for content in (whole[:-9], whole[:20], b"", b"no array"):
            file.write_bytes(content)
            with pytest.raises(DamagedFileError, match="npy format") as error:
                read_npy(file)
            one_line(error.value)
        np.save(file, np.array([{}]), allow_pickle=True)
        with pytest.raises(DamagedFileError, match="npy format"):
            read_npy(file)
        np.save(file, np.array(["a"]))
        with pytest.raises(DamagedFileError, match="numbers"):
            read_npy(file)


class TestWAV:
    @staticmethod
    def write(file: Path, width: int, raw: bytes) -> None:
        with wave.open(str(file), "wb") as sound:
            sound.setnchannels(2)
            sound.setsampwidth(width)
            sound.setframerate(8000)
            sound.writeframes(raw)

    @pytest.mark.parametrize("width", [1, 2, 3, 4])
    def test_samples_come_back(self, width: int, tmp_path: Path) -> None:
        top = 2 ** (8 * width - 1)
        wanted = np.array([[0, 1], [-top, top - 1], [top // 2, -top // 4]])
        stored = wanted + 128 if width == 1 else wanted
        raw = b"".join(int(v).to_bytes(width, "little", signed=width > 1) for v in stored.reshape(-1))
        self.write(tmp_path / "a.wav", width, raw)
        recording = read_wav(tmp_path / "a.wav")
        assert recording.rate == 8000 and recording.shape == (2,)
        np.testing.assert_allclose(recording.window(0, 3).numpy(), wanted / top, atol=1e-7)

    def test_bad_sound(self, tmp_path: Path) -> None:
        file = tmp_path / "a.wav"
        self.write(file, 2, bytes(400))
        whole = file.read_bytes()
        for content, why in (
            (whole[:100], "samples: 56 bytes, the header says 400"),
            (b"RIFF", "header"),
            (b"", "header"),
        ):
            file.write_bytes(content)
            with pytest.raises(DamagedFileError, match=why) as error:
                read_wav(file)
            one_line(error.value)
        file.write_bytes(whole[:20] + b"\x03" + whole[21:])  # samples as floating-point numbers
        with pytest.raises(DamagedFileError, match="uncompressed"):
            read_wav(file)


class TestHDF5:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """A file laid out as the Spiking Heidelberg Digits are."""
        h5py = pytest.importorskip("h5py", reason="needs the package h5py")
        rng = np.random.default_rng(0)
        with h5py.File(tmp_path / "shd.h5", "w") as h:
            times = h.create_dataset("spikes/times", 5, h5py.vlen_dtype(np.float16))
            units = h.create_dataset("spikes/units", 5, h5py.vlen_dtype(np.uint16))
            for i in range(5):
                times[i] = np.sort(rng.random(20 * i)).astype(np.float16)
                units[i] = rng.integers(0, 700, 20 * i)
            h["labels"] = np.arange(5, dtype=np.uint8) + 10
            h["extra/speaker"] = np.array([0, 1, 1, 2, 2])
        return tmp_path / "shd.h5"

    def test_recordings(self, file: Path) -> None:
        import h5py

        data = HDF5Events(file, units=700, dt=0.01, steps=100)
        assert len(data) == 5 and data.field("extra/speaker").tolist() == [0, 1, 1, 2, 2]
        with h5py.File(file) as h:
            for i, (recording, label) in enumerate(data):
                assert label == 10 + i
                x = recording.window(0, 100)
                expected = torch.zeros(100, 700)
                for t, u in zip(h["spikes/times"][i], h["spikes/units"][i], strict=True):
                    if (step := int(np.float64(t) // 0.01)) < 100:
                        expected[step, int(u)] += 1
                assert torch.equal(x, expected)
        assert data[-1][1] == 14
        with pytest.raises(IndexError, match="5 recordings"):
            data[5]

    def test_workers_may_share_it(self, file: Path) -> None:
        from torch.utils.data import DataLoader

        from tracetorch.data import collate_ragged

        data = HDF5Events(file, units=700, dt=0.01, steps=100)
        loader = DataLoader(data, batch_size=2, num_workers=1, collate_fn=collate_ragged)
        assert [batch.labels.tolist() for batch in loader] == [[10, 11], [12, 13], [14]]

    def test_bad_files(self, file: Path) -> None:
        import h5py

        def damaged(why: str) -> None:
            with pytest.raises(DamagedFileError, match=why) as error:
                HDF5Events(file, units=700, dt=0.01)
            one_line(error.value)

        with h5py.File(file, "a") as h:
            units = h["spikes/units"][2]
            h["spikes/units"][2] = units[:-1]
            h["spikes/units"][3] = np.full(60, 700)
        data = HDF5Events(file, units=700, dt=0.01)
        for place, why in (
            (2, r"spikes/times\[2\]: times and units must be as many"),
            (3, "between 0 and 699, got 700"),
        ):
            with pytest.raises(DamagedFileError, match=why):
                data[place]
        data[4]
        with h5py.File(file, "a") as h:
            del h["labels"]
            h["labels"] = np.arange(4)
        damaged(r"spikes/times: \[5\] recordings, labels has 4")
        with h5py.File(file, "a") as h:
            del h["labels"]
            h["labels"] = np.zeros(5)
        damaged("labels must be whole numbers")
        with h5py.File(file, "a") as h:
            del h["labels"]
        damaged("labels: no such array")
        whole = file.read_bytes()
        for content in (whole[: len(whole) // 2], b"no such file", b""):
            file.write_bytes(content)
            damaged("not readable: OSError")

    def test_an_absent_package_is_named(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(ImportError, match=r"pip install h5py"):
            HDF5Events(file, units=700, dt=0.01)
