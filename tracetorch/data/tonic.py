"""Event data sets of Tonic, binned when a window is requested."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from tracetorch.data.recordings import EventRecording


class EventDataset(Protocol):
    """What Tonic's data sets, its `SlicedDataset` and its caching data sets have in common.

    Example:
        >>> import numpy as np, tracetorch as tt
        >>> class Blinks:
        ...     def __len__(self):
        ...         return 1
        ...     def __getitem__(self, index):
        ...         return np.array([(10, 0, 1)], dtype=[("t", int), ("x", int), ("p", int)]), 3
        >>> len(tt.data.TonicRecordings(Blinks(), sensor_size=(2, 1, 2), dt=10))
        1
    """

    def __len__(self) -> int:
        """Return the number of recordings."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Return the structured events and the target of one recording."""
        ...


class TonicRecordings:
    """Recordings of a Tonic data set, time first, without a dense tensor of a whole recording.

    Give the data set without `ToFrame`; other transforms on events, `tonic.SlicedDataset`, and the caching data sets
    work as they are. A step counts the events of each pixel and polarity as `tonic.transforms.ToFrame(time_window=dt)`
    does, with the last bin, which is not full, included.

    Args:
        dataset: a data set of `(events, target)`, the events a structured array with `t`, `x`, `p` and perhaps `y`.
        sensor_size: width, height and polarities, as `dataset.sensor_size`.
        dt: length of a step, in the unit of `t` (microseconds in most sets).
        steps: number of steps of every recording; by default each goes up to its last event.

    Example:
        >>> import numpy as np, tracetorch as tt
        >>> kind = [("t", int), ("x", int), ("y", int), ("p", int)]
        >>> events = np.array([(10, 0, 1, 1), (25, 1, 0, 0)], dtype=kind)
        >>> recording, target = tt.data.TonicRecordings([(events, 3)], sensor_size=(2, 2, 2), dt=10)[0]
        >>> recording.steps, recording.shape, target
        (2, (2, 2, 2), 3)
    """

    def __init__(
        self, dataset: EventDataset, *, sensor_size: tuple[int, int, int], dt: float, steps: int | None = None
    ) -> None:
        if len(sensor_size) != 3 or any(size < 1 for size in sensor_size):
            raise ValueError(f"sensor_size must be (width, height, polarities), got {sensor_size!r}")
        self.dataset, self.sensor_size, self.dt, self.steps = dataset, sensor_size, dt, steps

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[EventRecording, Any]:
        """Return one recording and its target.

        Args:
            index: its place.

        Returns:
            The recording, of steps `[polarities, height, width]`, or `[polarities, width]` where events have no `y`.

        Raises:
            IndexError: there is no such recording.
            ValueError: it is no structured array, or an event lies outside the sensor; the message names the recording.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"the data set has {len(self)} recordings, got index {index}")
        place = index % len(self)
        events, target = self.dataset[place]
        names = getattr(getattr(events, "dtype", None), "names", None) or ()
        if not {"t", "x", "p"} <= set(names):
            raise ValueError(
                f"recording {place}: events must be a structured array with t, x and p, got {type(events).__name__} "
                f"{list(names)}; give the data set without a transform to frames"
            )
        width, height, polarities = self.sensor_size
        shape = (polarities, height, width) if "y" in names else (polarities, width)
        t, places = events["t"], [events["p"], *([events["y"]] if "y" in names else []), events["x"]]
        flat = np.zeros(len(t), dtype=np.int64)
        for name, size, values in zip("pyx" if "y" in names else "px", shape, places, strict=True):
            if len(t) and not (values.min() >= 0 and values.max() < size):
                why = f"{name} must be between 0 and {size - 1}, got {values.min()} to {values.max()}"
                raise ValueError(f"recording {place}: {why}; is sensor_size right?")
            flat = flat * size + values.astype(np.int64)
        start = t.min().item() if len(t) else 0
        try:
            return EventRecording(t, flat, shape, dt=self.dt, start=start, steps=self.steps), target
        except ValueError as error:
            raise ValueError(f"recording {place}: {error}") from error

    def __iter__(self) -> Iterator[tuple[EventRecording, Any]]:
        """Return the recordings one after another."""
        return (self[i] for i in range(len(self)))
