"""Measure workloads: the rows of a group take turns, A B C, C B A, ..., each in its own process."""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

import tracetorch
from benchmarks import machine
from benchmarks.problem import write_arrays
from benchmarks.process import Process, WorkerError
from benchmarks.results import Measured, Report, Table
from benchmarks.rows import AGAINST, OWN, Library, Row
from benchmarks.settings import Group, Workload

RATE_TOLERANCE = {"float32": 5e-3, "bfloat16": 1e-1}
"""Relative difference of a hidden layer's firing rate up to which two networks count as the same, by number format.

Ours is computed in float32: what has fewer digits moves more spikes.
"""

RECURRENT_TOLERANCE = 5e-2
"""The same for a recurrent network: one spike that rounding moved changes all that follow it."""

LOSS_TOLERANCE = 5e-2
"""The same for the loss: it sees single spikes that rounding moved."""

DRIFT = 0.1
"""Relative change of a firing rate over the repetitions from which a note reports it: rates decide the cost."""


@dataclass(frozen=True)
class Effort:
    """State how often is measured.

    Args:
        rounds: Turns of each row; the rows take turns.
        lead: Seconds of a turn before anything counts: a process that waited finds caches cold and its threads asleep.
        seconds: Seconds of a turn that count, at least.
        slow: Seconds of one repetition from which a row warms up once and gets one turn alone.
        limit: Seconds that one request may take.
    """

    rounds: int = 7
    lead: float = 0.3
    seconds: float = 0.3
    slow: float = 10.0
    limit: float = 1800.0


QUICK_EFFORT = Effort(rounds=2, lead=0.0, seconds=0.02, limit=600.0)
"""To see whether everything runs."""


@dataclass(frozen=True)
class Place:
    """State where a library's process runs.

    Args:
        library: The library.
        python: The interpreter; empty where there is none.
        path: Folders of modules.
        problem: Why there is none.
    """

    library: Library
    python: str
    path: tuple[str, ...] = ()
    problem: str = ""


Log = Callable[[str], None]


def own_place(python: str | os.PathLike[str]) -> Place:
    """Return the place of this library: the given interpreter, with this very package."""
    return Place(OWN, str(python), (str(Path(tracetorch.__file__).resolve().parents[1]),))


def against_place(python: str | os.PathLike[str]) -> Place:
    """Return the place of another installed version: the rows of this library, run by that version's interpreter.

    Args:
        python: The interpreter of an environment in which that version is installed.

    Returns:
        The place.

    Raises:
        ValueError: There is no such program.
    """
    if not os.access(python, os.X_OK):
        raise ValueError(f"--against takes the interpreter of an environment, such as venv/bin/python, got {python!s}")
    rows = [replace(row, library=AGAINST) for row in OWN.rows]
    return Place(Library(AGAINST, OWN.module, rows), os.path.abspath(python))


def run(
    workloads: Sequence[Workload],
    *,
    others: Sequence[Place] = (),
    own: Place | None = None,
    threads: int | None = None,
    effort: Effort | None = None,
    log: Log | None = None,
) -> Report:
    """Measure workloads, this library's rows and those of others in turn.

    Args:
        workloads: What to measure; see `benchmarks.settings.chosen`.
        others: Where rivals and other versions run; none for this library alone.
        own: Where this library runs; in this interpreter by default.
        threads: Threads of each process; as many as there are cores by default.
        effort: How often is measured.
        log: Called with a line on what goes on.

    Returns:
        The run.

    Raises:
        ValueError: There are fewer cores than threads, or no thread.
    """
    cores = os.cpu_count() or 1
    threads = cores if threads is None else threads
    if not 1 <= threads <= cores:
        raise ValueError(f"threads must be 1 to {cores}, the number of cores, got {threads}")
    effort = effort or Effort()
    report = Report(machine.describe(threads), {"effort": asdict(effort)})
    places = [own or own_place(sys.executable), *others]
    for workload in workloads:
        for group in workload.groups():
            turns = Turns(group, places, threads=threads, effort=effort, log=log or (lambda line: None))
            report.tables.append(turns.measure())
    report.machine["load_after"] = machine.load()
    return report


class Turns:
    """Measure the rows of a group in turn.

    Args:
        group: The group.
        places: The libraries, this one first.
        threads: Threads of each process.
        effort: How often.
        log: Called with a line on what goes on.
    """

    def __init__(self, group: Group, places: Sequence[Place], *, threads: int, effort: Effort, log: Log) -> None:
        self.group, self.places, self.threads, self.effort, self.log = group, places, threads, effort, log

    def measure(self) -> Table:
        """Measure all rows; return the table."""
        group, workload = self.group, self.group.workload
        table = Table(
            workload=workload.name,
            name=group.name,
            title=workload.title,
            kind=workload.kind,
            steps=group.steps,
            loss=group.loss,
            update=group.update,
            dtype=group.dtype,
            settings=asdict(workload),
        )
        if workload.device == "cuda" and not torch.cuda.is_available():
            table.skipped = "it needs a GPU that torch can use, and there is none"
            self.log(f"{group.name}: skipped, {table.skipped}")
            return table
        with tempfile.TemporaryDirectory(prefix="tracetorch-bench-") as folder:
            self.data = str(write_arrays(group, folder))
            self.expected = self.reference()
            (self._one_by_one if workload.kind == "memory" else self._in_turn)(table)
        return table

    def _in_turn(self, table: Table) -> None:
        """Keep all processes and let each have its turn, round by round, there and back."""
        with ExitStack() as stack:
            alive = []
            for place, row in self.rows():
                worker = self.worker(place, row)
                stack.callback(worker.close)
                table.rows.append(worker.measured)
                alive.append(worker)
            for number in range(self.effort.rounds):
                alive = [worker for worker in alive if worker.takes_part(number)]
                if alive:
                    self.log(f"{table.name}: round {number + 1} of {self.effort.rounds}, {len(alive)} rows")
                for worker in reversed(alive) if number % 2 else alive:
                    worker.turn()
            for worker in alive:
                worker.finish()

    def _one_by_one(self, table: Table) -> None:
        """Give each row a process that ends before the next begins: what counts is its peak memory."""
        for place, row in self.rows():
            worker = self.worker(place, row)
            table.rows.append(worker.measured)
            if worker.takes_part(0):
                worker.turn()
            worker.close()

    def rows(self) -> list[tuple[Place, Row]]:
        """Return the rows that the group has, with their places; those of another version behind ours."""
        rows = [(place, row) for place in self.places for row in place.library.rows if row.fits(self.group)]
        first = [row.method for _, row in rows]
        ours = (OWN.name, AGAINST)
        return sorted(rows, key=lambda r: first.index(r[1].method) if r[0].library.name in ours else len(rows))

    def job(self, row: Row) -> dict[str, Any]:
        """Return what a process is told of a row."""
        group = self.group
        return {
            "data": self.data,
            "row": {"method": row.method, "options": dict(row.options), "decays": row.decays},
            "group": {"steps": group.steps, "loss": group.loss, "update": group.update, "dtype": group.dtype},
            "workload": asdict(group.workload),
            "threads": self.threads,
        }

    def reference(self) -> dict[str, Any]:
        """Return rates and loss of this library's network under each convention and kind of decays."""
        place = self.places[0]
        with Process(place.python, place.library.module, path=list(place.path), threads=self.threads) as process:
            job = self.job(Row(place.library.name, "reference", ()))
            process.ask({"do": "prepare", "job": job}, limit=self.effort.limit)
            return process.ask({"do": "report"}, limit=self.effort.limit)

    def worker(self, place: Place, row: Row) -> Worker:
        """Start a row's process and prepare it."""
        self.log(f"{self.group.name}: {row.name}")
        worker = Worker(self, place, row)
        worker.prepare()
        return worker


class Worker:
    """One row's process, and what it gave so far.

    Args:
        turns: What the rows of a group share.
        place: Where the process runs.
        row: The row.
    """

    def __init__(self, turns: Turns, place: Place, row: Row) -> None:
        self.turns, self.place, self.row = turns, place, row
        self.measured = Measured(row.library, row.method, notes=[row.note] if row.note else [])
        self.process: Process | None = None
        self.lead, self.seconds = 0.0, 0.0

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the process; note why where it fails, and return nothing."""
        if self.process is None:
            return {}
        try:
            return self.process.ask(request, limit=self.turns.effort.limit)
        except WorkerError as error:
            self.measured.error = str(error)
            self.turns.log(f"{self.row.name}: {error}")
            self.close()
            return {}

    def prepare(self) -> None:
        """Build the case, compare its network with this library's, and warm it up."""
        if not self.place.python:
            self.measured.error = self.place.problem
            return
        turns, group = self.turns, self.turns.group
        self.process = Process(
            self.place.python, self.place.library.module, path=list(self.place.path), threads=turns.threads
        )
        self.measured.versions = self.ask({"do": "prepare", "job": turns.job(self.row)}).get("versions", {})
        seen = self.ask({"do": "report"})
        if seen.get("convention"):
            recurrent = group.workload.network.recurrence > 0
            tolerance = RECURRENT_TOLERANCE if recurrent else RATE_TOLERANCE[group.dtype]
            expected = turns.expected[f"{seen['convention']} {self.row.decays}"]
            compare(self.measured, seen, expected, tolerance=tolerance)
        elif seen:
            self.measured.rates, self.measured.loss = seen["rates"], seen["loss"]
        self.warm_up()

    def warm_up(self) -> None:
        """Do what has to be done once, and see whether a repetition is long enough to be its own lead."""
        effort, measured = self.turns.effort, self.measured
        last = measured.first = self._warm()
        if self.turns.group.workload.kind == "memory":
            return
        for _ in range(2):  # some compilers look twice
            if self.process is not None and last < effort.slow:
                last = self._warm()
        self.lead, self.seconds = effort.lead if last < effort.lead else 0.0, effort.seconds

    def _warm(self) -> float:
        return float(self.ask({"do": "warm"}).get("seconds", [math.nan])[0])

    def takes_part(self, number: int) -> bool:
        """Return whether the row takes part in a round; slow ones do in the first alone."""
        if self.process is None:
            return False
        slow = bool(self.measured.seconds) and self.measured.median > self.turns.effort.slow
        if number and slow:
            self.finish()
        return not (number and slow)

    def turn(self) -> None:
        """Take a turn."""
        answer = self.ask({"do": "run", "lead": self.lead, "seconds": self.seconds})
        if answer:
            measured = self.measured
            measured.seconds += answer["seconds"]
            measured.turns.append(statistics.median(answer["seconds"]))
            measured.peak_mb = answer["peak_mb"]
            measured.growth_mb = answer["peak_mb"] - answer["start_mb"]
            measured.device_mb = answer.get("device_mb")

    def finish(self) -> None:
        """Ask for what is known at the end, and end the process."""
        measured = self.measured
        if self.turns.group.update == "each":
            seconds = self.ask({"do": "optimizer", "count": 200}).get("seconds", [])
            measured.optimizer = statistics.median(seconds) if seconds else None
        measured.rates_after = self.ask({"do": "report"}).get("rates", [])
        if any(_far(now, then) > DRIFT for now, then in zip(measured.rates_after, measured.rates, strict=False)):
            measured.notes.append(
                "its firing rates moved: " + ", ".join(f"{100 * r:.1f} %" for r in measured.rates_after)
            )
        self.close()

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.close()
            self.process = None


def compare(
    measured: Measured, seen: Mapping[str, Any], expected: Mapping[str, Any], *, tolerance: float = 5e-3
) -> None:
    """Note a network's rates and loss and whether they are those of this library's network.

    Args:
        measured: Where they are noted.
        seen: The row's ``rates``, ``loss`` and ``convention``.
        expected: This library's ``rates`` and ``loss``.
        tolerance: Relative difference of a rate up to which it counts as the same.
    """
    measured.rates, measured.loss = seen["rates"], seen["loss"]
    far = [_far(a, b) for a, b in zip(seen["rates"], expected["rates"], strict=True)]
    loss = _far(seen["loss"], expected["loss"])
    measured.agrees = max(far) <= tolerance and loss <= max(LOSS_TOLERANCE, tolerance)
    if seen["convention"] == "delayed":
        measured.notes.append("its spike resets after the decay: v = beta v - z + I; compared with the same of ours")
    if not measured.agrees:
        rates = ", ".join(f"{a:.4f} for {b:.4f}" for a, b in zip(seen["rates"], expected["rates"], strict=True))
        measured.notes.append(f"another network: rates {rates}; loss {seen['loss']:.4f} for {expected['loss']:.4f}")


def _far(value: float, expected: float) -> float:
    return abs(value - expected) / max(abs(expected), 1e-9)
