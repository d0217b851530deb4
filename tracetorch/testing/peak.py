"""Count the bytes of tensors that a program makes, on any device, without the allocator's help."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class PeakBytes(TorchDispatchMode):
    """Bytes of the tensors that are made inside a `with` block and are alive, and their greatest number.

    The number is that of the tensors themselves: it repeats exactly, whatever the process did before.
    What compiled kernels use for themselves is not seen.

    Args:
        known: tensors `[...]` that do not count, for example the inputs.

    Attributes:
        peak: the greatest number of bytes alive at one time.

    Example:
        >>> import torch
        >>> with PeakBytes() as meter:
        ...     for _ in range(3):
        ...         x = torch.ones(100) + 1.0
        >>> meter.peak  # the first sum is alive while the next is computed
        1200
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, int] = {}
        self._now = 0
        self._known = [t.untyped_storage() for t in known]  # held, so that no other storage takes their place
        for storage in self._known:
            self._alive[storage._cdata] = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count what it made."""
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._alive:
            self._alive[key] = storage.nbytes()
            self._now += self._alive[key]
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self._now -= self._alive.pop(key)
