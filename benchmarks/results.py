"""The results of a run, and how they become JSON."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.rows import AGAINST, BASIS, OWN


@dataclass
class Measured:
    """Results of one row.

    Args:
        library: The library.
        method: The method.
        seconds: Seconds of each repetition, the first (which warms up) left out.
        turns: Median seconds of each turn; rows of one table had them in turn.
        first: Seconds of the repetition that warmed up.
        peak_mb: Largest resident memory of the process over the repetitions, in MB.
        growth_mb: What of it was added since before the first repetition.
        device_mb: Peak memory of the GPU in MB; None on a CPU.
        optimizer: Seconds of one step of the optimizer alone, None where it is not apart.
        rates: Firing rates of the hidden layers before the first repetition, spikes per step and unit.
        rates_after: The same after the last.
        loss: Loss on the last output before the first repetition.
        agrees: Whether rates and loss are those of this library under the same convention; None if not compared.
        notes: What a reader must know.
        versions: Versions of what it ran on.
        error: Why there is no result; empty where there is one.
    """

    library: str
    method: str
    seconds: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    first: float = math.nan
    peak_mb: float = math.nan
    growth_mb: float = math.nan
    device_mb: float | None = None
    optimizer: float | None = None
    rates: list[float] = field(default_factory=list)
    rates_after: list[float] = field(default_factory=list)
    loss: float = math.nan
    agrees: bool | None = None
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def name(self) -> str:
        """Return library and method."""
        return f"{self.library} {self.method}"

    @property
    def median(self) -> float:
        """Return the median seconds of a repetition; NaN where there is none."""
        return statistics.median(self.seconds) if self.seconds else math.nan

    @property
    def valid(self) -> bool:
        """Return whether the time may be compared: measured, and of the same network."""
        return bool(self.seconds) and not self.error and self.agrees is not False

    def quartiles(self) -> tuple[float, float]:
        """Return the lower and the upper quartile of the repetitions' seconds; NaN for fewer than two."""
        return quartiles(self.seconds)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the lower and the upper quartile; NaN for fewer than two values."""
    if len(values) < 2:
        return math.nan, math.nan
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


@dataclass
class Table:
    """Results of one group with all its rows.

    Args:
        workload: The workload's name.
        name: The group's name.
        title: What the workload is.
        kind: The workload's kind.
        steps: Time steps.
        loss: ``last`` or ``every``.
        update: ``end`` or ``each``.
        dtype: Number format.
        settings: The workload's fields.
        rows: What was measured.
        skipped: Why nothing was; empty otherwise.
    """

    workload: str
    name: str
    title: str
    kind: str
    steps: int
    loss: str
    update: str
    dtype: str
    settings: dict[str, Any]
    rows: list[Measured] = field(default_factory=list)
    skipped: str = ""

    def row(self, library: str, method: str) -> Measured | None:
        """Return a row, or None."""
        return next((r for r in self.rows if (r.library, r.method) == (library, method)), None)

    @property
    def basis(self) -> Measured | None:
        """Return the row that ratios are against: this library's default rule."""
        row = self.row(OWN.name, BASIS)
        return row if row is not None and row.valid else None

    def ratio(self, row: Measured) -> float:
        """Return how many times longer a row takes than this library's default rule; NaN where unknown."""
        return row.median / self.basis.median if self.basis is not None and row.valid else math.nan

    def pairs(self) -> dict[str, list[float]]:
        """Return, by method, another version's seconds over this one's, turn by turn: above 1 this one is faster."""
        found = {}
        for row in self.rows:
            twin = self.row(AGAINST, row.method)
            if row.library == OWN.name and twin is not None and row.valid and twin.valid:
                found[row.method] = [b / a for a, b in zip(row.turns, twin.turns, strict=False)]
        return found


@dataclass
class Report:
    """Results of a whole run.

    Args:
        machine: What it ran on; see `benchmarks.machine`.
        options: How it was run.
        tables: Its tables.
    """

    machine: dict[str, Any]
    options: dict[str, Any]
    tables: list[Table] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Return whether every row has a result and every network is the same; another version may lack rows."""
        rows = [row for table in self.tables for row in table.rows if row.library != AGAINST]
        return not any(row.error or row.agrees is False for row in rows)

    def versions(self) -> dict[str, dict[str, str]]:
        """Return the versions of each library."""
        return {row.library: row.versions for table in self.tables for row in table.rows if row.versions}

    def as_json(self) -> str:
        """Return the run as JSON; NaN becomes null."""
        tables = []
        for table in self.tables:
            rows = []
            for row in table.rows:
                low, high = row.quartiles()
                numbers = {"median": row.median, "quartiles": [low, high], "ratio": table.ratio(row)}
                rows.append({**asdict(row), **numbers})
            tables.append({**asdict(table), "rows": rows, "pairs": table.pairs()})
        whole = {"format": 1, "machine": self.machine, "options": self.options, "tables": tables}
        return json.dumps(_plain(whole), indent=1) + "\n"


def read(path: str | os.PathLike[str]) -> Report:
    """Read a run that `Report.as_json` wrote.

    Args:
        path: The file.

    Returns:
        The run.

    Raises:
        ValueError: The file is of another format.
    """
    whole = json.loads(Path(path).read_text(encoding="utf-8"))
    if whole.get("format") != 1:
        raise ValueError(f"{str(path)!r} is no benchmark result of format 1")
    known = set(Measured.__dataclass_fields__)
    tables = []
    for table in whole["tables"]:
        rows = [Measured(**{k: _number(k, v) for k, v in row.items() if k in known}) for row in table["rows"]]
        table.pop("pairs", None)  # they follow from the rows
        tables.append(Table(**{**table, "rows": rows}))
    return Report(whole["machine"], whole["options"], tables)


_NUMBERS: Sequence[str] = ("first", "peak_mb", "growth_mb", "loss")


def _number(key: str, value: Any) -> Any:
    return math.nan if value is None and key in _NUMBERS else value


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
