"""MNIST and Fashion-MNIST, as bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tracetorch.data.files import DamagedFileError, find_file, load_arrays


@dataclass(frozen=True, eq=False)
class Images:
    """A set of labelled images, in its official order.

    Attributes:
        x_train: ``[N, H, W]``, uint8.
        y_train: ``[N]``, int64.
        x_test: ``[M, H, W]``, uint8.
        y_test: ``[M]``, int64.

    Example:
        >>> import tracetorch as tt
        >>> images = tt.data.digits()
        >>> xs = images.x_train[:64].flatten(1) / 255
        >>> xs.shape, images.y_train[:64].shape
        (torch.Size([64, 64]), torch.Size([64]))
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


def mnist(path: str | os.PathLike[str] | None = None) -> Images:
    """Read MNIST from ``mnist.npz``: 60,000 and 10,000 images of 28 x 28 bytes, 10 classes.

    Args:
        path: The file or its directory; None takes the environment variable ``TRACETORCH_DATA``.

    Returns:
        The images and labels, in their official order.

    Raises:
        DataNotFoundError: The file is absent.
        DamagedFileError: The file is not what it should be.

    Source: "Gradient-based learning applied to document recognition", Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, 1998,
    https://doi.org/10.1109/5.726791

    Example:
        >>> import tempfile, numpy as np, tracetorch as tt
        >>> x, y = np.zeros((2, 28, 28), np.uint8), np.array([3, 7])  # instead of the real ones
        >>> file = f"{tempfile.mkdtemp()}/mnist.npz"
        >>> np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
        >>> tt.data.mnist(file).y_train
        tensor([3, 7])
    """
    return _images("mnist.npz", path)


def fashion_mnist(path: str | os.PathLike[str] | None = None) -> Images:
    """Read Fashion-MNIST from ``fashion_mnist.npz``: sizes as `mnist`, ten kinds of clothing.

    Args:
        path: The file or its directory; None takes the environment variable ``TRACETORCH_DATA``.

    Returns:
        The images and labels, in their official order.

    Raises:
        DataNotFoundError: The file is absent.
        DamagedFileError: The file is not what it should be.

    Source: "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", H. Xiao, K. Rasul, R.
    Vollgraf, 2017, https://arxiv.org/abs/1708.07747

    Example:
        >>> import tempfile, numpy as np, tracetorch as tt
        >>> x, y = np.zeros((2, 28, 28), np.uint8), np.array([3, 7])  # instead of the real ones
        >>> file = f"{tempfile.mkdtemp()}/fashion_mnist.npz"
        >>> np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
        >>> tt.data.fashion_mnist(file).x_test.shape
        torch.Size([2, 28, 28])
    """
    return _images("fashion_mnist.npz", path)


def _images(name: str, path: str | os.PathLike[str] | None) -> Images:
    file = find_file(name, path)
    arrays = load_arrays(file, ("x_train", "y_train", "x_test", "y_test"))
    for key, array in arrays.items():
        if array.dtype.kind not in "iu":
            raise DamagedFileError(file, key, f"expected whole numbers, got {array.dtype}")
    tensors = {
        key: torch.from_numpy(np.asarray(array, dtype=array.dtype.newbyteorder("="))) for key, array in arrays.items()
    }
    for part in ("train", "test"):
        x, y = tensors[f"x_{part}"], tensors[f"y_{part}"]
        if x.dtype != torch.uint8 or x.shape[1:] != (28, 28) or not len(x):
            raise DamagedFileError(file, f"x_{part}", f"expected uint8 [N, 28, 28], got {x.dtype} {list(x.shape)}")
        if y.shape != x.shape[:1] or y.min() < 0 or y.max() > 9:
            raise DamagedFileError(file, f"y_{part}", f"expected labels 0 to 9, [{len(x)}], got {list(y.shape)}: {y}")
        tensors[f"y_{part}"] = y.to(torch.int64)
    return Images(**tensors)
