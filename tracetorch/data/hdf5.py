"""Many recordings of events in one HDF5 file, as the Spiking Heidelberg Digits have them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tracetorch.data.files import UNREADABLE, DamagedFileError, given_file
from tracetorch.data.recordings import EventRecording
from tracetorch.ops.require import require


class HDF5Events:
    """Recordings of events in an HDF5 file: ragged times and units, a label each.

    A recording is read when it is requested; the file is open only then, so worker processes may share the object.

    Args:
        path: the file.
        units: number of units, or their shape.
        dt: length of a step, in the unit of the times (seconds in SHD).
        steps: number of steps of every recording; by default each goes up to its last event.
        keys: paths of the times, the units and the labels in the file.

    Raises:
        ImportError: h5py is not installed.
        DataNotFoundError: the file is absent.
        DamagedFileError: it is no HDF5 file, or the arrays are absent or differ in number.

    Source of the layout: B. Cramer et al., "The Heidelberg Spiking Data Sets for the Systematic Evaluation of Spiking
    Neural Networks" (2020), https://doi.org/10.1109/TNNLS.2020.3044364.

    Example:
        >>> import h5py, tempfile, numpy as np, tracetorch as tt
        >>> file = f"{tempfile.mkdtemp()}/events.h5"
        >>> with h5py.File(file, "w") as h:
        ...     times = h.create_dataset("spikes/times", (1,), dtype=h5py.vlen_dtype(np.float64))
        ...     units = h.create_dataset("spikes/units", (1,), dtype=h5py.vlen_dtype(np.int64))
        ...     times[0], units[0], h["labels"] = [0.0, 0.25], [1, 0], [7]
        >>> recording, label = tt.data.HDF5Events(file, units=2, dt=0.1)[0]
        >>> recording.steps, label
        (3, 7)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        units: int | tuple[int, ...],
        dt: float,
        steps: int | None = None,
        keys: tuple[str, str, str] = ("spikes/times", "spikes/units", "labels"),
    ) -> None:
        require("h5py")
        self.file = given_file(path, "an HDF5 file")
        self.shape = (units,) if isinstance(units, int) else tuple(units)
        self.dt, self.steps, self.keys = dt, steps, keys
        self.labels = self.field(keys[2])
        if self.labels.dtype.kind not in "iu":
            raise DamagedFileError(self.file, keys[2], f"labels must be whole numbers, got {self.labels.dtype}")
        for key in keys[:2]:
            count = self._read(lambda h, key=key: h[key].shape, key)
            if count != (len(self.labels),):
                raise DamagedFileError(self.file, key, f"{list(count)} recordings, {keys[2]} has {len(self.labels)}")

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[EventRecording, int]:
        """Return one recording and its label.

        Args:
            index: its place.

        Returns:
            The recording and the label.

        Raises:
            IndexError: there is no such recording.
            DamagedFileError: its times or units are not what they should be.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"the file has {len(self)} recordings, got index {index}")
        place = index % len(self)
        field = f"{self.keys[0]}[{place}]"
        times, units = self._read(lambda h: (h[self.keys[0]][place], h[self.keys[1]][place]), field)
        try:
            recording = EventRecording(times, units, self.shape, dt=self.dt, steps=self.steps)
        except ValueError as error:
            raise DamagedFileError(self.file, field, str(error)) from error
        return recording, int(self.labels[place])

    def __iter__(self) -> Iterator[tuple[EventRecording, int]]:
        """Return the recordings one after another."""
        return (self[i] for i in range(len(self)))

    def field(self, key: str) -> npt.NDArray[Any]:
        """Return another array of the file as a whole, such as `extra/speaker`.

        Args:
            key: its path in the file.

        Returns:
            The array.

        Raises:
            DamagedFileError: there is no such array, or it cannot be read.
        """
        return np.asarray(self._read(lambda h: h[key][()], key))

    def _read(self, read: Any, field: str) -> Any:
        h5py = require("h5py")
        try:
            with h5py.File(self.file, "r") as opened:
                return read(opened)
        except KeyError as error:
            raise DamagedFileError(self.file, field, "no such array") from error
        except UNREADABLE as error:
            raise DamagedFileError(self.file, field, f"not readable: {type(error).__name__}: {error}") from error
