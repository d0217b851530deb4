"""Large blocks of memory that are used again: an operating system gives fresh ones page by page, at a high price."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from threading import RLock

import numpy as np
import torch
from torch import Tensor

LARGE = 2**18
"""Bytes from which a block is reused."""
IDLE = 2**29
"""Bytes of unused blocks, at most."""
LINE = 64
"""Bytes of a line of the cache, at which blocks begin: a vector that lies across two costs two accesses."""
LEARNT = 2**25 - 2**16
"""Bytes of the block that the C library learns from: near the most that it does, 32 MB."""


class _Shared(np.ndarray):
    """A block that is out: torch holds it as long as any tensor shares its memory."""


class Pool:
    """Memory for tensors, reused when no tensor shares it any more.

    Of unused blocks, those of sizes that have not come back for longest are given up where there are too many.

    Example:
        >>> import torch
        >>> pool = Pool()
        >>> first = pool.empty((512, 512), torch.float32)
        >>> place = first.data_ptr()
        >>> view = first[0]
        >>> del first
        >>> pool.empty((512, 512), torch.float32).data_ptr() == place
        False
        >>> del view
        >>> pool.empty((512, 512), torch.float32).data_ptr() == place
        True
    """

    def __init__(self) -> None:
        self.free: dict[int, list[np.ndarray]] = {}
        self.idle = 0
        self._lock = RLock()  # a thread that holds it may free a block: the garbage collector runs at any time

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor of this shape and type, its values whatever they are."""
        size = math.prod(shape) * dtype.itemsize
        if size < LARGE or dtype not in _KINDS:
            return torch.empty(shape, dtype=dtype)
        block = self._unused(size)
        if block is None:
            memory = np.empty(size + LINE, np.uint8)
            first = -memory.ctypes.data % LINE
            block = memory[first : first + size]
        shared = block.view(_Shared)
        weakref.finalize(shared, self._take, block).atexit = False
        return torch.from_numpy(shared.view(_KINDS[dtype])).view(shape)

    def _unused(self, size: int) -> np.ndarray | None:
        with self._lock:
            blocks = self.free.get(size)
            if not blocks:
                return None
            self.idle -= size
            return blocks.pop()

    def _take(self, block: np.ndarray) -> None:
        size = block.nbytes
        with self._lock:
            self.free[size] = blocks = self.free.pop(size, [])  # the last one now
            blocks.append(block)
            self.idle += size
            while self.idle > IDLE:
                oldest = next(iter(self.free))
                if self.free[oldest]:
                    self.free[oldest].pop()
                    self.idle -= oldest
                else:
                    del self.free[oldest]


_KINDS = {torch.float32: np.float32, torch.float64: np.float64, torch.int32: np.int32}


@cache
def pool() -> Pool:
    """Return the pool that the kernels of this process share, as they share the machine's memory.

    What torch allocates beside it has the same price. The C library of Linux learns from the largest block that comes
    back to it up to which size it keeps blocks; the first call gives it one, whose pages are never touched.
    """
    torch.empty(LEARNT, dtype=torch.uint8)
    return Pool()


def into_pool(function: Callable[..., Tensor], shape: Sequence[int], *operands: Tensor) -> Tensor:
    """Return what a function of torch that takes `out` gives, in memory of the pool where nothing speaks against it.

    That is: no graph is recorded or compiled, the device is a CPU, and the types are one.

    >>> import torch
    >>> into_pool(torch.mul, (2,), torch.tensor([1.0, 2.0]), torch.tensor(3.0))
    tensor([3., 6.])
    """
    first = operands[0]
    plain = torch.is_grad_enabled() or torch.compiler.is_compiling()
    if plain or any(x.dtype != first.dtype or x.device.type != "cpu" for x in operands):
        return function(*operands)
    return function(*operands, out=pool().empty(tuple(shape), first.dtype))
