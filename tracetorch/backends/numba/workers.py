"""A thread pool that runs a compiled kernel on contiguous shares of its work.

Compiled kernels release the interpreter's lock, so plain threads run at the same time. Unlike the threads of an OpenMP
runtime these survive a fork: the child sees another process number and starts threads of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


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
        bounds = [total * i // shares for i in range(shares + 1)]
        futures = []
        if shares > 1:
            executor = self._threads(torch.get_num_threads() - 1)
            futures = [executor.submit(kernel, *arguments, bounds[i], bounds[i + 1]) for i in range(shares - 1)]
        try:
            kernel(*arguments, bounds[-2], bounds[-1])
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
