"""The other end of `worker`: one process for one row."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

_WORKER = Path(__file__).with_name("worker.py")


class WorkerError(RuntimeError):
    """Say that a row's process ended or did not answer; the message holds the end of what it wrote."""


class Process:
    """Start the process of a row and ask it.

    Args:
        python: The interpreter of its environment.
        module: The module of its library.
        path: Folders that this module and its neighbours are imported from.
        threads: Threads that it may use.

    Example:
        >>> import sys
        >>> with Process(sys.executable, "json", path=[], threads=1) as process:
        ...     process.alive
        True
    """

    def __init__(self, python: str | os.PathLike[str], module: str, *, path: list[str], threads: int) -> None:
        self._errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - `close` closes it
        self._process = subprocess.Popen(
            [str(python), str(_WORKER), module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env=environment(path, threads),
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any], *, limit: float) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            request: The request; see `benchmarks.worker`.
            limit: Seconds to wait at most.

        Returns:
            The answer.

        Raises:
            WorkerError: The process ended, or the answer did not come in time.
        """
        if self._process.stdin is None:
            raise WorkerError("the process has no input")
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=limit)
        except (OSError, ValueError):
            line = ""
        except queue.Empty:
            raise WorkerError(f"no answer to {request['do']!r} within {limit:g} s") from None
        if not line:
            raise WorkerError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Tell the process to stop; end it where it does not."""
        if self._process.stdin is not None and self.alive:
            try:
                self._process.stdin.write(json.dumps({"do": "stop"}) + "\n")
                self._process.stdin.close()
            except (OSError, ValueError):
                pass
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _listen(self) -> None:
        if self._process.stdout is not None:
            for line in self._process.stdout:
                self._answers.put(line)
        self._answers.put("")

    def _last_words(self) -> str:
        """Return the last line of standard error that says something, and how the process ended."""
        try:
            code: int | None = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = None
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        said = lines[-1] if lines else "it wrote nothing"
        return f"the process ended with code {code}: {said[:300]}"


def environment(path: list[str], threads: int) -> dict[str, str]:
    """Return the environment of a row's process: this one's, with module folders and threads set.

    Args:
        path: Folders for modules.
        threads: Threads of every library that asks the environment.

    Returns:
        The variables.
    """
    variables = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        variables[name] = str(threads)
    variables["PYTHONPATH"] = os.pathsep.join(path)
    variables["PYTHONSAFEPATH"] = ""
    return variables
