"""One recording, of which a window at a time becomes a tensor: events, or samples at equal steps."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.generic]


@runtime_checkable
class Recording(Protocol):
    """A recording of a known number of steps.

    Attributes:
        steps: number of time steps.
        shape: shape of one step.

    Example:
        >>> import torch, tracetorch as tt
        >>> class Sine:
        ...     steps, shape = 100, (1,)
        ...     def window(self, start, stop):
        ...         return torch.sin(torch.arange(start, stop) / 10).unsqueeze(1)
        >>> isinstance(Sine(), tt.data.Recording)
        True
    """

    steps: int
    shape: tuple[int, ...]

    def window(self, start: int, stop: int) -> Tensor:
        """Return the samples, or the counts of events, of a window.

        Args:
            start: the first step.
            stop: the step after the last.

        Returns:
            `[stop - start, *shape]`, float32.

        Raises:
            IndexError: if the window is not inside the recording.
        """
        ...


class EventRecording:
    r"""Events of units at times, counted in bins of equal length when a window is requested.

    .. math:: x_{t,i} = \#\{k : \lfloor (\tau_k - \mathrm{start}) / dt \rfloor = t,\ u_k = i\}

    The events are held, 16 bytes each, and never a dense tensor of the whole recording.

    Args:
        times: time of each event, `[N]`, in any unit and order.
        units: the unit of each event, `[N]`, an index into the flattened `shape`.
        shape: shape of the units, such as `(700,)` or `(2, 34, 34)`.
        dt: length of a bin, in the unit of the times.
        start: time at which the first bin begins.
        steps: number of bins; by default up to the last event. Later events are left out.

    Raises:
        ValueError: if times and units differ in number, a time is not finite or before `start`, or a unit is not one
            of `shape`.

    Example:
        >>> import numpy as np, tracetorch as tt
        >>> events = tt.data.EventRecording(np.array([0, 3, 4]), np.array([1, 0, 0]), (2,), dt=2)
        >>> events.window(0, 3)
        tensor([[0., 1.],
                [1., 0.],
                [1., 0.]])
    """

    def __init__(
        self,
        times: npt.ArrayLike,
        units: npt.ArrayLike,
        shape: tuple[int, ...],
        *,
        dt: float,
        start: float = 0,
        steps: int | None = None,
    ) -> None:
        t, u = np.asarray(times), np.asarray(units)
        if t.ndim != 1 or t.shape != u.shape:
            raise ValueError(f"times and units must be as many, [N], got {list(t.shape)} and {list(u.shape)}")
        if not 0 < dt < float("inf"):
            raise ValueError(f"dt must be a positive length of time, got {dt!r}")
        if t.dtype.kind not in "iuf" or u.dtype.kind not in "iu":
            raise ValueError(f"times must be numbers and units whole numbers, got {t.dtype} and {u.dtype}")
        self.shape, size = tuple(shape), int(np.prod(shape))
        if len(t) and not (np.isfinite(t).all() and t.min() >= start):
            raise ValueError(f"a time must be finite and not before start = {start:g}, got {t.min()!s} to {t.max()!s}")
        if len(u) and not (u.min() >= 0 and u.max() < size):
            raise ValueError(f"a unit must be between 0 and {size - 1}, got {u.min()} to {u.max()}")
        if t.dtype.kind == "f":
            t = t.astype(np.float64)
        elif isinstance(start, int) and isinstance(dt, int):
            t = t.astype(np.int64)  # exact
        bins = np.floor_divide(t - start, dt).astype(np.int64)
        order = np.argsort(bins, kind="stable")
        self._bins, self._units = bins[order], u[order].astype(np.int64)
        last = int(self._bins[-1]) + 1 if len(bins) else 0
        if steps is not None and steps < 0:
            raise ValueError(f"steps must not be negative, got {steps}")
        self.steps = last if steps is None else int(steps)

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self._bins)

    def window(self, start: int, stop: int) -> Tensor:
        """Return the number of each unit's events from step `start` to before `stop`, `[stop - start, *shape]`."""
        require_inside(self, start, stop)
        a, b = np.searchsorted(self._bins, (start, stop))
        size = int(np.prod(self.shape))
        flat = (self._bins[a:b] - start) * size + self._units[a:b]
        counts = np.bincount(flat, minlength=(stop - start) * size).astype(np.float32)
        return torch.from_numpy(counts).reshape(stop - start, *self.shape)


class DenseRecording:
    """Samples at equal steps; a memory-mapped array is read window by window.

    Args:
        values: the samples, `[T, *shape]`.
        rate: samples a second, where it is known.

    Raises:
        ValueError: if the array has no time axis or does not hold numbers.

    Example:
        >>> import numpy as np, tracetorch as tt
        >>> tt.data.DenseRecording(np.arange(6).reshape(3, 2)).window(1, 2)
        tensor([[2., 3.]])
    """

    def __init__(self, values: npt.ArrayLike, *, rate: float | None = None) -> None:
        array = values if isinstance(values, np.ndarray) else np.asarray(values)
        if array.ndim < 1 or array.dtype.kind not in "biuf":
            raise ValueError(f"samples must be numbers [time, ...], got {array.dtype} {list(array.shape)}")
        self._values, self.rate = array, rate
        self.steps, self.shape = len(array), tuple(array.shape[1:])

    def window(self, start: int, stop: int) -> Tensor:
        """Return the samples from step `start` to before `stop`, `[stop - start, *shape]`, float32."""
        require_inside(self, start, stop)
        return torch.from_numpy(np.array(self._values[start:stop], dtype=np.float32))


def require_inside(recording: Recording, start: int, stop: int) -> None:
    """Raise IndexError where a window is not inside a recording."""
    if not 0 <= start <= stop <= recording.steps:
        raise IndexError(f"the recording has the steps 0 to {recording.steps}, got a window from {start} to {stop}")
