"""The image files are read as bytes with labels, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tracetorch.data import DataNotFoundError, digits, fashion_mnist, mnist


def write(path: Path, **changes: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (6, 28, 28), dtype=np.uint8),
        "y_train": np.arange(6, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (4, 28, 28), dtype=np.uint8),
        "y_test": np.arange(4, dtype=np.uint8),
    }
    np.savez(path, **{**arrays, **changes})
    return path


def test_mnist_and_fashion_are_read_from_their_files(tmp_path: Path) -> None:
    write(tmp_path / "mnist.npz")
    write(tmp_path / "fashion_mnist.npz", y_test=np.full(4, 9, dtype=np.uint8))
    a, b = mnist(tmp_path), fashion_mnist(tmp_path)
    assert a.x_train.shape == (6, 28, 28) and a.x_train.dtype == torch.uint8
    assert a.y_test.dtype == torch.int64 and a.y_test.tolist() == [0, 1, 2, 3]
    assert b.y_test.tolist() == [9] * 4


def test_an_absent_file_raises(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"mnist\.npz"):
        mnist(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"x_train": np.zeros((6, 28, 28), dtype=np.float32)},
        {"x_test": np.zeros((4, 784), dtype=np.uint8)},
        {"y_train": np.zeros(5, dtype=np.uint8)},
    ],
)
def test_a_wrong_array_raises(tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))[:1] + "_"):
        mnist(write(tmp_path / "mnist.npz", **changes))


def test_the_digits_are_split_once_for_all() -> None:
    pytest.importorskip("sklearn")
    a, b = digits(), digits()
    assert a.x_train.shape == (1437, 8, 8) and a.x_test.shape == (360, 8, 8)
    assert torch.equal(a.x_test, b.x_test) and torch.equal(a.y_train, b.y_train)
    assert a.x_train.min() == 0 and a.x_train.max() == 255
    assert a.y_test.bincount(minlength=10).min() > 20
    assert not torch.equal(a.x_test, digits(seed=1).x_test)


def test_a_split_with_nothing_left_raises() -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(ValueError, match="between 1 and 1796"):
        digits(test=1797)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install scikit-learn"):
        digits()
