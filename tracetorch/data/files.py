"""Find a data file and read its arrays."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

ENVIRONMENT_VARIABLE = "TRACETORCH_DATA"
"""Name of the environment variable that says which folder holds the data files: ``TRACETORCH_DATA``."""


class DataNotFoundError(FileNotFoundError):
    """Say that a data file is absent, where it was looked for, and how to name its place."""


def find_file(name: str, path: str | os.PathLike[str] | None = None) -> Path:
    """Find a data file: in `path` if given, else in the environment variable ``TRACETORCH_DATA``.

    Args:
        name: The file's name, for example ``"mnist.npz"``: looked for where the path is a directory.
        path: The file itself, or the directory that holds it.

    Returns:
        The file's path.

    Raises:
        DataNotFoundError: No path was given, or there is no such file.
    """
    place = path if path is not None else os.environ.get(ENVIRONMENT_VARIABLE) or None
    if place is None:
        raise DataNotFoundError(
            f"{name} is needed: give its path or its directory, as the argument (--data on the command line) "
            f"or in the environment variable {ENVIRONMENT_VARIABLE}"
        )
    source = "the given path" if path is not None else f"the environment variable {ENVIRONMENT_VARIABLE}"
    found = Path(place).expanduser()
    if found.is_dir():
        found = found / name
    if not found.is_file():
        raise DataNotFoundError(f"no file at {str(found)!r}, which {source} names: {name} or its directory is expected")
    return found


def load_arrays(file: Path, keys: Iterable[str]) -> dict[str, npt.NDArray[np.generic]]:
    """Read named arrays from an npz file, never unpickling.

    Args:
        file: The file's path.
        keys: The names of the arrays that are needed.

    Returns:
        The arrays by name.

    Raises:
        ValueError: The file is no npz archive, an array is absent, or it holds pickled objects.
    """
    unreadable = f"{str(file)!r} is no readable npz archive"
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{unreadable}: write it with numpy.savez")
    try:
        with np.load(file, allow_pickle=False) as archive:
            absent = [key for key in keys if key not in archive]
            if absent:
                raise ValueError(f"{str(file)!r} has no array {absent}; it has {sorted(archive.files)}")
            return {key: archive[key] for key in keys}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{unreadable}: {error}") from error
