"""Many recordings read side by side, one in each row of the batch, without an end or until all are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tracetorch.data.recordings import Recording


class Recordings(Protocol):
    """A sequence of recordings with their labels.

    Example:
        >>> import numpy as np, tracetorch as tt
        >>> some = [(tt.data.DenseRecording(np.ones((3, 2))), 1)]  # a list is one, and so is a data set of torch
        >>> recording, label = some[0]
        >>> recording.steps, label
        (3, 1)
    """

    def __len__(self) -> int:
        """Return the number of recordings."""
        ...

    def __getitem__(self, index: int, /) -> tuple[Recording, int]:
        """Return one recording and its label."""
        ...


class Window(NamedTuple):
    """The next steps of all rows.

    Args:
        xs: `[T, B, *shape]`, float32, zero where nothing is read.
        resets: `[T, B]`, bool, true at the first step of a recording.
        ends: `[T, B]`, bool, true at the last step of a recording.
        valid: `[T, B]`, bool, true where a recording is read.
        labels: `[T, B]`, int64, -1 where nothing is read.
        recordings: `[T, B]`, int64, the recording's place, -1 where nothing is read.

    Example:
        >>> import numpy as np, tracetorch as tt
        >>> pool = tt.data.RowPool([(tt.data.DenseRecording(np.ones((3, 2))), 1)], rows=1, steps=5)
        >>> window = pool.next()
        >>> window.xs.shape, window.valid[:, 0].tolist()
        (torch.Size([5, 1, 2]), [True, True, True, False, False])
    """

    xs: Tensor
    resets: Tensor
    ends: Tensor
    valid: Tensor
    labels: Tensor
    recordings: Tensor


class RowPool:
    """Recordings read side by side: each row of the batch reads one, and the next when it ends.

    By default a new recording begins at the first step of a window only, and the rest of a window after a recording's
    end is not valid, so that `tt.reset(net, window.resets[0])` and one `tt.scan(net, window.xs)` serve a window. With
    `join=True` the next recording follows at once, no step is lost, and `resets` has entries at any step, for
    `tt.scan(net, window.xs, mask=window.valid, resets=window.resets)`.

    Args:
        recordings: the recordings with their labels, `recordings[i]`; one is read when its turn comes.
        rows: number of rows, `B`.
        steps: number of steps of a window, `T`.
        seed: of the order, which is another in each epoch; None for the order as it is.
        epochs: how often all are read; None for without end.
        join: let the next recording follow within a window.

    Raises:
        ValueError: if there are no recordings, or a number is not positive.

    Example:
        >>> import torch, tracetorch as tt
        >>> some = [(tt.data.DenseRecording(torch.full((n, 1), float(n)).numpy()), n) for n in (3, 1, 2)]
        >>> pool = tt.data.RowPool(some, rows=2, steps=2, seed=None)
        >>> [window.labels.T.tolist() for window in pool]
        [[[3, 3], [1, -1]], [[3, -1], [2, 2]]]
    """

    def __init__(
        self,
        recordings: Recordings,
        *,
        rows: int,
        steps: int,
        seed: int | None = 0,
        epochs: int | None = 1,
        join: bool = False,
    ) -> None:
        if len(recordings) == 0:
            raise ValueError("there is no recording to read")
        for name, number in (("rows", rows), ("steps", steps), ("epochs", 1 if epochs is None else epochs)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        self.recordings, self.rows, self.steps = recordings, rows, steps
        self.seed, self.epochs, self.join = seed, epochs, join
        self._taken = 0  # recordings that were begun, over all epochs
        self._place = [-1] * rows
        self._at = [0] * rows
        self._open: list[tuple[Recording, int] | None] = [None] * rows
        self._order: tuple[int, list[int]] | None = None
        self._shape: tuple[int, ...] | None = None

    def __iter__(self) -> Iterator[Window]:
        """Return the windows from the present position on."""
        while (window := self.next()) is not None:
            yield window

    def next(self) -> Window | None:
        """Read the next window.

        Returns:
            The window; None where all recordings are read.

        Raises:
            ValueError: if a recording has another shape than those before, or no step. The position is then as before.
        """
        before = (self._taken, list(self._place), list(self._at), list(self._open))
        done = False
        try:
            window = self._window()
            done = True
        finally:
            if not done:
                self._taken, self._place, self._at, self._open = before
        return window

    def _window(self) -> Window | None:
        T, B = self.steps, self.rows
        for row in range(B):
            self._refill(row)
        if self._shape is None or all(source is None for source in self._open):
            return None
        xs = torch.zeros(T, B, *self._shape)
        resets, ends, valid = (torch.zeros(T, B, dtype=torch.bool) for _ in range(3))
        labels, places = (torch.full((T, B), -1) for _ in range(2))
        for row in range(B):
            t = 0
            while t < T and (source := self._open[row]) is not None:
                recording, label = source
                count = min(T - t, recording.steps - self._at[row])
                here = slice(t, t + count)
                xs[here, row] = recording.window(self._at[row], self._at[row] + count)
                valid[here, row], labels[here, row], places[here, row] = True, label, self._place[row]
                resets[t, row] = self._at[row] == 0
                self._at[row], t = self._at[row] + count, t + count
                if self._at[row] == recording.steps:
                    ends[t - 1, row] = True
                    self._open[row], self._place[row], self._at[row] = None, -1, 0
                    if not self.join:
                        break
                    self._refill(row)
        return Window(xs, resets, ends, valid, labels, places)

    def _refill(self, row: int) -> None:
        """Begin the next recording in a row that reads none, if there is one."""
        total = None if self.epochs is None else self.epochs * len(self.recordings)
        if self._open[row] is not None or (total is not None and self._taken >= total):
            return
        place = self._order_of(self._taken // len(self.recordings))[self._taken % len(self.recordings)]
        self._open[row] = self._read(place)
        self._place[row], self._at[row], self._taken = place, 0, self._taken + 1

    def _read(self, place: int) -> tuple[Recording, int]:
        recording, label = self.recordings[place]
        if recording.steps < 1:
            raise ValueError(f"recording {place} has no step; leave it out")
        shape = tuple(recording.shape)
        if self._shape is not None and shape != self._shape:
            raise ValueError(f"recording {place} has steps of the shape {shape}, those before {self._shape}")
        self._shape = shape
        return recording, int(label)

    def _order_of(self, epoch: int) -> list[int]:
        if self.seed is None:
            return list(range(len(self.recordings)))
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            self._order = (epoch, torch.randperm(len(self.recordings), generator=generator).tolist())
        return self._order[1]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the position, for a checkpoint.

        Returns:
            Tensors: how many recordings were begun, each row's recording (-1 for none) and step, and the sizes to which
            the position belongs.
        """
        return {
            "taken": torch.tensor(self._taken),
            "recordings": torch.tensor(self._place),
            "steps": torch.tensor(self._at),
            "belongs_to": torch.tensor([len(self.recordings), -1 if self.seed is None else self.seed]),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go to a position; the next window is then the one that would have followed.

        Args:
            state: what `state_dict` returned, of a pool with the same recordings, rows and seed.

        Raises:
            ValueError: if the position does not belong to this pool; it is then where it was.
        """
        own = self.state_dict()
        lost = sorted(set(own) - set(state))
        if lost:
            raise ValueError(f"the position has no {lost[0]!r}; expected what state_dict() returns")
        if state["belongs_to"].tolist() != own["belongs_to"].tolist():
            count, seed = state["belongs_to"].tolist()
            raise ValueError(
                f"the position is of {count} recordings and seed {seed}, not of {own['belongs_to'].tolist()}"
            )
        places, at = state["recordings"].tolist(), state["steps"].tolist()
        if len(places) != self.rows or len(at) != self.rows:
            raise ValueError(f"the position is of {len(places)} rows, the pool has {self.rows}")
        outside = [place for place in places if not -1 <= place < len(self.recordings)]
        if outside or int(state["taken"]) < 0:
            raise ValueError(f"the position names recordings that there are not: {outside or int(state['taken'])}")
        sources = [None if place < 0 else self._read(place) for place in places]
        for source, step in zip(sources, at, strict=True):
            if not 0 <= step < (1 if source is None else source[0].steps):
                raise ValueError(f"the position has step {step}, which its recording does not have")
        self._taken, self._place, self._at, self._open = int(state["taken"]), places, at, list(sources)
