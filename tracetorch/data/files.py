"""Find a data file and read its arrays."""

from __future__ import annotations

import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

ENVIRONMENT_VARIABLE = "TRACETORCH_DATA"
"""Name of the environment variable that says which folder holds the data files: ``TRACETORCH_DATA``."""

UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, LookupError, ValueError, TypeError),
    *(SyntaxError, RuntimeError, MemoryError, OverflowError, AttributeError, tokenize.TokenError),
)
"""What NumPy and zipfile raise at damaged archives."""


class DataNotFoundError(FileNotFoundError):
    """A data file is absent. The message names where it was looked for, and how to name its place.

    Example:
        >>> import tracetorch as tt
        >>> try:
        ...     images = tt.data.mnist("no/such/folder")
        ... except tt.data.DataNotFoundError:
        ...     images = tt.data.digits()
        >>> images.x_train.shape[1:]
        torch.Size([8, 8])
    """


class DamagedFileError(ValueError):
    """A file does not hold what it should. The message names the file, the field, and what is wrong.

    Attributes:
        path: The file.
        field: The place in it: an array, keys with dots between them, a line, or ``sha256`` for the file as a whole.
        why: What is wrong.

    Example:
        >>> import pathlib, tempfile, tracetorch as tt
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "mnist.npz"
        >>> _ = file.write_text("not an archive")
        >>> try:
        ...     images = tt.data.mnist(file)
        ... except tt.data.DamagedFileError as error:
        ...     print(error.path.name, error.field)
        mnist.npz content
    """

    def __init__(self, path: Path, field: str, why: str) -> None:
        """Compose the message."""
        self.path, self.field, self.why = path, field, why
        super().__init__(f"{str(path)!r}: {field}: {' '.join(why.split())}")


def find_file(name: str, path: str | os.PathLike[str] | None = None) -> Path:
    """Find a data file: in `path` if given, else in the environment variable ``TRACETORCH_DATA``.

    Args:
        name: The file's name, for example ``"mnist.npz"``: looked for where the path is a directory.
        path: The file itself, or the directory that holds it.

    Returns:
        The file's path.

    Raises:
        DataNotFoundError: No path was given, or there is no such file.

    Example:
        >>> import pathlib, tempfile, tracetorch as tt
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> (folder / "mnist.npz").touch()
        >>> tt.data.find_file("mnist.npz", folder).name
        'mnist.npz'
    """
    place = path if path is not None else os.environ.get(ENVIRONMENT_VARIABLE) or None
    if place is None:
        raise DataNotFoundError(
            f"{name} is needed: give its path or its directory, as the argument (--data on the command line) "
            f"or in the environment variable {ENVIRONMENT_VARIABLE}; 'tracetorch data' shows how to make it"
        )
    source = "the given path" if path is not None else f"the environment variable {ENVIRONMENT_VARIABLE}"
    found = Path(place).expanduser()
    if found.is_dir():
        found = found / name
    if not found.is_file():
        raise DataNotFoundError(
            f"no file at {str(found)!r}, which {source} names: {name} or its directory is expected; "
            "'tracetorch data' shows how to make it"
        )
    return found


def given_file(path: str | os.PathLike[str], kind: str) -> Path:
    """Return the path of a file that the user names, or raise DataNotFoundError, which says what is expected."""
    file = Path(path).expanduser()
    if not file.is_file():
        what = "a directory" if file.is_dir() else "no file"
        raise DataNotFoundError(f"{str(file)!r} is {what}: {kind} is expected")
    return file


def load_arrays(file: Path, keys: Iterable[str]) -> dict[str, npt.NDArray[np.generic]]:
    """Read named arrays from an npz file, never unpickling.

    Args:
        file: The file's path.
        keys: The names of the arrays that are needed.

    Returns:
        The arrays by name.

    Raises:
        DamagedFileError: The file is no npz archive, an array is absent or unreadable, or it holds pickled objects.

    Example:
        >>> import pathlib, tempfile, numpy as np, tracetorch as tt
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "some.npz"
        >>> np.savez(file, x=np.arange(3))
        >>> tt.data.load_arrays(file, ["x"])["x"]
        array([0, 1, 2])
    """
    if not zipfile.is_zipfile(file):
        raise DamagedFileError(file, "content", "no readable npz archive: write it with numpy.savez")
    field = "content"
    arrays = {}
    try:
        with np.load(file, allow_pickle=False) as archive:
            for field in keys:
                if field not in archive:
                    raise DamagedFileError(file, field, f"no such array; the file has {sorted(archive.files)}")
                arrays[field] = archive[field]
                if not isinstance(arrays[field], np.ndarray):  # NumPy returns the bytes of a member without its magic
                    raise DamagedFileError(file, field, "not in NumPy's npy format")
    except DamagedFileError:
        raise
    except UNREADABLE as error:
        raise DamagedFileError(file, field, f"not readable: {type(error).__name__}: {error}") from error
    return arrays


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: under another name, to the disk, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        if os.name == "posix":  # the new name is on the disk only when its folder is
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)
