"""A data file is found where the user says, or the error says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tracetorch.data import ENVIRONMENT_VARIABLE, DataNotFoundError, find_file, load_arrays


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    return tmp_path / "a.npz"


def test_a_file_or_its_directory_may_be_given(file: Path) -> None:
    assert find_file("a.npz", file) == file
    assert find_file("a.npz", str(file.parent)) == file
    assert find_file("another name.npz", file) == file


def test_the_environment_is_asked_where_no_path_is_given(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (file, file.parent):
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(place))
        assert find_file("a.npz") == file


def test_the_argument_wins_over_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "/nowhere")
    assert find_file("a.npz", file) == file


def test_no_path_at_all_names_both_ways() -> None:
    with pytest.raises(DataNotFoundError, match=f"a.npz is needed.*--data.*{ENVIRONMENT_VARIABLE}"):
        find_file("a.npz")


def test_an_absent_file_names_who_said_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataNotFoundError, match=r"b\.npz.*the given path"):
        find_file("b.npz", file.parent)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(file.parent))
    with pytest.raises(DataNotFoundError, match=f"b.npz.*environment variable {ENVIRONMENT_VARIABLE}"):
        find_file("b.npz")


def test_arrays_are_read_by_name(file: Path) -> None:
    assert load_arrays(file, ["x"])["x"].tolist() == [0, 1, 2]


def test_an_absent_array_is_named(file: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.npz': y: no such array; the file has \['x'\]"):
        load_arrays(file, ["x", "y"])


def test_what_is_no_archive_raises(tmp_path: Path) -> None:
    for name, content in (
        ("text.npz", b"hello, this is text"),
        ("empty.npz", b""),
        ("zip.npz", b"PK\x03\x04 cut off"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            load_arrays(tmp_path / name, ["x"])
    np.save(tmp_path / "single.npy", np.arange(3))
    with pytest.raises(ValueError, match=r"single\.npy.*numpy.savez"):
        load_arrays(tmp_path / "single.npy", ["x"])


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"pickle|Object arrays"):
        load_arrays(tmp_path / "p.npz", ["x"])
