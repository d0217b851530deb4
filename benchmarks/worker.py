"""The process of one row: answers requests, one JSON object a line, on standard input and output.

It is run by its path, ``python worker.py MODULE``, in whatever environment the library lives in, and so imports nothing
outside the standard library itself. It loads this package from its own folder, so that the environment's tracetorch is
not hidden by that of the clone. MODULE has

- ``prepare(job) -> case``: build network, data and optimizer; `job` has the keys data (the path of the arrays), row
  (method, options, decays), group (steps, loss, update, dtype), workload, threads;
- ``versions() -> dict``: versions of what the result depends on;

and the case has

- ``iterate()``: one repetition, over when it returns;
- ``report() -> dict``: rates (spikes per step of each hidden layer), loss, convention (see
  `benchmarks.own`; empty for a network that is compared with no other);
- optionally ``optimizer()``: one step of the optimizer alone, ``warm()``: what of a long repetition has to be done
  once, and ``device_mb()``: peak memory of the device.

Requests: ``{"do": "prepare", "job": {...}}``, ``{"do": "report"}``, ``{"do": "warm"}``,
``{"do": "run", "lead": s, "seconds": s}``, ``{"do": "optimizer", "count": n}``, ``{"do": "stop"}``. An error ends the
process, its traceback on standard error.
Memory is accounted for in ``run`` alone: what compiles in ``warm`` may need more than what runs.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

HOME = Path(__file__).resolve().parent


def load(name: str, path: Path, **found: Any) -> Any:
    """Load a module from its file: the folder that holds it is not on the path, nor need it be a package there."""
    spec = importlib.util.spec_from_file_location(name, path, **found)
    if spec is None or spec.loader is None:
        raise ImportError(f"{str(path)!r} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Server:
    """Answer requests about one row.

    Args:
        module: What ``prepare`` and ``versions`` are taken from.
        answers: Where answers go.
    """

    def __init__(self, module: Any, answers: TextIO) -> None:
        self.module = module
        self.answers = answers
        self.case: Any = None
        memory = load("_bench_memory", HOME.parent / "tracetorch" / "train" / "memory.py")
        self.meter, self.resident = memory.PeakMemory(), memory.resident_mb
        self.start_mb = 0.0

    def serve(self, requests: TextIO) -> None:
        """Answer requests until one says stop or there are no more."""
        for line in requests:
            request = json.loads(line)
            if request["do"] == "stop":
                return
            self.answers.write(json.dumps(self.answer(request)) + "\n")
            self.answers.flush()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks.

        Args:
            request: The request.

        Returns:
            The answer.

        Raises:
            ValueError: The request is of no known kind.
        """
        do = request["do"]
        if do == "prepare":
            pin(request["job"]["threads"])
            self.case = self.module.prepare(request["job"])
            self.start_mb = self.resident()
            return {"versions": self.module.versions()}
        if do == "report":
            return dict(self.case.report())
        if do == "warm":
            warm = getattr(self.case, "warm", self.case.iterate)
            return {"seconds": timed(warm, 1)}
        if do == "run":
            return self.run(request["lead"], request["seconds"])
        if do == "optimizer":
            return self.optimizer(request["count"])
        raise ValueError(f"a request is prepare, report, warm, run, optimizer or stop, got {do!r}")

    def run(self, lead: float, seconds: float) -> dict[str, Any]:
        """Time repetitions for some seconds, one at least, after a lead in which none counts.

        Memory is accounted for in both.
        """
        self.meter.resume()
        if lead > 0:
            lasting(self.case.iterate, lead)
        took = lasting(self.case.iterate, seconds)
        self.meter.pause()
        answer = {"seconds": took, "peak_mb": self.meter.peak_mb, "start_mb": self.start_mb}
        if hasattr(self.case, "device_mb"):
            answer["device_mb"] = self.case.device_mb()
        return answer

    def optimizer(self, count: int) -> dict[str, Any]:
        """Time steps of the optimizer alone; no seconds where the library has none apart."""
        if not hasattr(self.case, "optimizer"):
            return {"seconds": []}
        return {"seconds": timed(self.case.optimizer, count)}


def lasting(function: Any, least: float) -> list[float]:
    """Return the seconds of calls that take `least` seconds together, or of one call."""
    seconds = timed(function, 1)
    while sum(seconds) < least:
        seconds += timed(function, 1)
    return seconds


def timed(function: Any, count: int) -> list[float]:
    """Return the seconds of each of `count` calls."""
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


def pin(threads: int) -> None:
    """Keep this process to as many cores as it has threads, where the system allows it: some libraries use all."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])


def main(name: str) -> None:
    """Serve the module of that name; what it prints goes to standard error."""
    load("benchmarks", HOME / "__init__.py", submodule_search_locations=[str(HOME)])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    Server(importlib.import_module(name), answers).serve(sys.stdin)


if __name__ == "__main__":
    sys.path.pop(0)  # this file's folder: its neighbours are no top-level modules
    main(sys.argv[1])
