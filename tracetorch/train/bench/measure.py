"""Measure the rows of a group in turn: A B C A B C ..., each in its own process."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tracetorch
from tracetorch.train.bench.problem import write_arrays
from tracetorch.train.bench.process import Process, WorkerError
from tracetorch.train.bench.results import Measured, Table
from tracetorch.train.bench.rows import OWN, Library, Row
from tracetorch.train.bench.settings import Group

RATE_TOLERANCE = {"float32": 5e-3, "bfloat16": 1e-1}
"""Relative difference of a hidden layer's firing rate up to which two networks count as the same, by number format.

Ours is computed in float32: what has fewer digits moves more spikes.
"""

LOSS_TOLERANCE = 5e-2
"""The same for the loss: it sees single spikes that rounding moved."""


DRIFT = 0.1
"""Relative change of a firing rate over the repetitions from which a note tells it: rates decide the cost."""


@dataclass(frozen=True)
class Effort:
    """Say how often is measured.

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


@dataclass(frozen=True)
class Place:
    """Say where a library's process runs.

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


Say = Callable[[str], None]


def own_place(python: str | os.PathLike[str]) -> Place:
    """Return the place of this library: the given interpreter, with this very package."""
    return Place(OWN, str(python), (str(Path(tracetorch.__file__).resolve().parents[1]),))


def measure(group: Group, places: Sequence[Place], *, threads: int, effort: Effort, say: Say) -> Table:
    """Measure all rows of a group.

    Args:
        group: The group.
        places: The libraries, this one first.
        threads: Threads of each process.
        effort: How often.
        say: Called with a line on what goes on.

    Returns:
        The table.
    """
    workload = group.workload
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
    with tempfile.TemporaryDirectory(prefix="tracetorch-bench-") as folder:
        data = write_arrays(group, folder)
        turns = _Turns(group, str(data), threads=threads, effort=effort, say=say)
        expected = {} if workload.kind == "bandwidth" else turns.reference(places[0])
        if workload.kind == "memory":
            _one_by_one(turns, places, table, expected)
        else:
            _in_turn(turns, places, table, expected)
    return table


def _in_turn(turns: _Turns, places: Sequence[Place], table: Table, expected: Mapping[str, Any]) -> None:
    """Keep all processes and let each have its turn, round by round."""
    with ExitStack() as stack:
        alive = []
        for place, row in turns.rows(places):
            seat = turns.seat(place, row, expected)
            stack.callback(seat.close)
            table.rows.append(seat.measured)
            alive.append(seat)
        for number in range(turns.effort.rounds):
            alive = [seat for seat in alive if seat.wants(number)]
            if alive:
                turns.say(f"{table.name}: round {number + 1} of {turns.effort.rounds}, {len(alive)} rows")
            for seat in alive:
                seat.turn()
        for seat in alive:
            seat.finish()


def _one_by_one(turns: _Turns, places: Sequence[Place], table: Table, expected: Mapping[str, Any]) -> None:
    """Give each row a process that ends before the next begins: what counts is its peak memory."""
    for place, row in turns.rows(places):
        seat = turns.seat(place, row, expected)
        table.rows.append(seat.measured)
        if seat.wants(0):
            seat.turn()
        seat.close()


class _Turns:
    """Hold what all rows of a group share."""

    def __init__(self, group: Group, data: str, *, threads: int, effort: Effort, say: Say) -> None:
        self.group, self.data, self.threads, self.effort, self.say = group, data, threads, effort, say

    def rows(self, places: Sequence[Place]) -> list[tuple[Place, Row]]:
        """Return the rows that the group has, with their places."""
        return [(place, row) for place in places for row in place.library.rows if row.fits(self.group)]

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

    def reference(self, place: Place) -> dict[str, Any]:
        """Return rates and loss of this library's network under each convention and kind of decays."""
        with Process(place.python, place.library.module, path=list(place.path), threads=self.threads) as process:
            job = self.job(Row(place.library.name, "reference"))
            process.ask({"do": "prepare", "job": job}, limit=self.effort.limit)
            return process.ask({"do": "report"}, limit=self.effort.limit)

    def seat(self, place: Place, row: Row, expected: Mapping[str, Any]) -> _Seat:
        """Start a row's process and prepare it."""
        self.say(f"{self.group.name}: {row.name}")
        seat = _Seat(self, place, row)
        seat.prepare(expected)
        return seat


class _Seat:
    """Hold one row's process and what it gave so far."""

    def __init__(self, turns: _Turns, place: Place, row: Row) -> None:
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
            self.turns.say(f"{self.row.name}: {error}")
            self.close()
            return {}

    def prepare(self, expected: Mapping[str, Any]) -> None:
        """Build the case, compare its network with this library's, and warm it up."""
        if not self.place.python:
            self.measured.error = self.place.problem
            return
        self.process = Process(
            self.place.python, self.place.library.module, path=list(self.place.path), threads=self.turns.threads
        )
        self.measured.versions = self.ask({"do": "prepare", "job": self.turns.job(self.row)}).get("versions", {})
        seen = self.ask({"do": "report"})
        self.measured.bytes = seen.get("bytes")
        if "rates" in seen:
            tolerance = RATE_TOLERANCE[self.turns.group.dtype]
            compare(self.measured, seen, expected[f"{seen['convention']} {self.row.decays}"], tolerance=tolerance)
        self.warm_up()

    def warm_up(self) -> None:
        """Do what has to be done once, and see whether a repetition is long enough to be its own lead."""
        effort, measured = self.turns.effort, self.measured
        if self.turns.group.workload.kind == "memory":
            measured.first = self.ask({"do": "warm"}).get("seconds", [math.nan])[0]
            return
        last = measured.first = self._once()
        for _ in range(2):  # some compilers look twice
            if self.process is not None and last < effort.slow:
                last = self._once()
        self.lead, self.seconds = effort.lead if last < effort.lead else 0.0, effort.seconds

    def _once(self) -> float:
        seconds = self.ask({"do": "warm"}).get("seconds", [math.nan])
        return float(seconds[0])

    def wants(self, number: int) -> bool:
        """Tell whether the row takes part in a round; slow ones do in the first alone."""
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
            measured.peak_mb = answer["peak_mb"]
            measured.growth_mb = answer["peak_mb"] - answer["start_mb"]
            measured.device_mb = answer.get("device_mb")

    def finish(self) -> None:
        """Ask for what is known at the end, and let the process go."""
        if self.turns.group.update == "each":
            seconds = self.ask({"do": "optimizer", "count": 200}).get("seconds", [])
            self.measured.optimizer = replace(self.measured, seconds=seconds).median if seconds else None
        measured = self.measured
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
