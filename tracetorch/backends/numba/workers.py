"""A thread pool that runs a compiled kernel on contiguous shares of its work.

Compiled kernels release the interpreter's lock, so plain threads run at the same time. Unlike the threads of an OpenMP
runtime these survive a fork: the child sees another process number and starts threads of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

SHARES = 4
"""Shares of the work per thread."""


class Workers:
    """Threads for compiled kernels, as many as torch uses; started at the first use.

    Example:
        >>> Workers().run(lambda low, high: print(low, high), 0, ())
    """

    def __init__(self) -> None:
        self._owner: tuple[int, int] = (0, 0)
        self._executor: ThreadPoolExecutor | None = None

    @staticmethod
    def count(total: int) -> int:
        """Return the number of shares of so many pieces of work: at most one per thread of torch."""
        return max(1, min(torch.get_num_threads(), total))

    def run(self, kernel: Callable[..., Any], total: int, arguments: Sequence[Any]) -> None:
        """Call `kernel(*arguments, low, high)` on shares of `range(total)`, the last one in this thread.

        Args:
            kernel: the function; it must release the interpreter's lock to run in parallel.
            total: number of pieces of work.
            arguments: its first arguments.
        """
        if total == 0:
            return
        shares = self.count(total)
        if shares == 1:
            kernel(*arguments, 0, total)
            return
        # Torch's own threads wait for work by spinning, and take a core from one of these: whoever is free goes on.
        pieces = min(total, SHARES * shares)
        bounds = iter([(total * i // pieces, total * (i + 1) // pieces) for i in range(pieces)])
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    share = next(bounds, None)
                if share is None:
                    return
                kernel(*arguments, *share)

        executor = self._threads(torch.get_num_threads() - 1)
        futures = [executor.submit(work) for _ in range(shares - 1)]
        try:
            work()
        finally:
            for future in futures:
                future.result()

    def _threads(self, number: int) -> ThreadPoolExecutor:
        owner = (os.getpid(), number)
        if self._executor is None or self._owner != owner:
            if self._executor is not None and self._owner[0] == owner[0]:
                self._executor.shutdown(wait=False)
            self._executor, self._owner = ThreadPoolExecutor(number, "tracetorch"), owner
        return self._executor
