"""MNIST and Fashion-MNIST from the four files in which both are distributed."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracetorch.data.files import UNREADABLE, DamagedFileError, given_file

BYTES = 8
"""The code of unsigned bytes in a header."""


def read_idx(file: Path) -> npt.NDArray[np.uint8]:
    """Read an IDX file: two zero bytes, the kind of its numbers, the number of dimensions, the sizes, the numbers.

    Compressed by gzip or not; only unsigned bytes are read. Source of the format: "Gradient-based learning applied to
    document recognition", Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, 1998, https://doi.org/10.1109/5.726791
    """
    content = given_file(file, "a file of the download").read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except UNREADABLE as error:
            raise DamagedFileError(file, "content", f"not readable by gzip: {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != BYTES:
        raise DamagedFileError(file, "header", f"no IDX file of bytes: it begins with {content[:4]!r}")
    shape = np.frombuffer(content, ">u4", min(content[3], (len(content) - 4) // 4), 4)
    start, size = 4 + 4 * content[3], int(np.prod(shape, dtype=np.int64))
    if len(content) != start + size:
        raise DamagedFileError(file, "length", f"{len(content)} bytes, but the header says {start + size}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def images(downloads: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read both parts of MNIST, or of Fashion-MNIST, in their official order: images ``[N, H, W]`` and labels, uint8.

    `downloads` is the folder of ``train-images-idx3-ubyte.gz`` and the three others, unpacked or not.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for part, name in (("train", "train"), ("t10k", "test")):
        for key, kind in (("x", "images-idx3-ubyte"), ("y", "labels-idx1-ubyte")):
            file = downloads / f"{part}-{kind}"
            arrays[f"{key}_{name}"] = read_idx(file if file.is_file() else file.with_name(f"{file.name}.gz"))
        found = len(arrays[f"y_{name}"])
        if arrays[f"x_{name}"].ndim != 3 or arrays[f"y_{name}"].ndim != 1 or len(arrays[f"x_{name}"]) != found:
            raise DamagedFileError(downloads, part, f"{len(arrays[f'x_{name}'])} images and {found} labels do not fit")
    return arrays
