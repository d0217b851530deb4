"""Threads that run a compiled kernel: torch's own OpenMP threads, or plain ones where torch has none to share.

Torch's threads wait for work by spinning and keep their cores from any other pool of threads; so kernels run on the
same threads. OpenMP does not survive a fork: a forked process has one thread.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

SHARES = 4
"""Shares of the work per thread: a thread that is late leaves the rest to the others."""

_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@lru_cache(1)
def openmp() -> tuple[int, Any] | None:
    """Return this process and its OpenMP's function that runs one in parallel; None where torch has no such runtime.

    GNU's, Intel's and LLVM's runtimes all have `GOMP_parallel(function, data, threads, flags)`.
    """
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        if (folder / name).is_file():
            parallel = getattr(ctypes.CDLL(str(folder / name)), "GOMP_parallel", None)
            if parallel is not None:
                _follow_forks()
                parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
                parallel.restype = None
                return os.getpid(), parallel
    return None


def _follow_forks() -> None:
    """Give forked processes one thread: they would wait for ever for the threads of OpenMP, which a fork leaves behind.

    Torch has the same trouble by itself, with any operation that ran on several threads before the fork, and does the
    same in the processes of a DataLoader.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class Workers:
    """Threads for compiled kernels, as many as torch uses."""

    def __init__(self) -> None:
        self._owner: tuple[int, int] = (0, 0)
        self._executor: ThreadPoolExecutor | None = None

    @staticmethod
    def count(total: int) -> int:
        """Return the number of threads for so many pieces of work: at most torch's."""
        return max(1, min(torch.get_num_threads(), total))

    def run(self, entry: int, total: int, places: Sequence[int]) -> None:
        """Run an entry point of `launch.py` on shares of `range(total)`.

        Args:
            entry: its address.
            total: number of pieces of work.
            places: what the kernel's arguments are, as integers.
        """
        if total == 0:
            return
        threads = self.count(total)
        shares = 1 if threads == 1 else min(total, SHARES * threads)
        block = (ctypes.c_int64 * (3 + len(places)))(0, shares, total, *places)
        runtime = None if threads == 1 else openmp()
        if runtime is not None and runtime[0] == os.getpid():
            runtime[1](entry, block, threads, 0)
            return
        call = _ENTRY(entry)
        at = ctypes.addressof(block)
        futures = [self._threads(threads).submit(call, at) for _ in range(threads - 1)]
        call(at)
        for future in futures:
            future.result()

    def _threads(self, number: int) -> ThreadPoolExecutor:
        owner = (os.getpid(), number)
        if self._executor is None or self._owner != owner:
            if self._executor is not None and self._owner[0] == owner[0]:
                self._executor.shutdown(wait=False)
            self._executor, self._owner = ThreadPoolExecutor(number, "tracetorch"), owner
        return self._executor
