"""What the library is to reach, checked against a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.results import Measured, Report, Table
from benchmarks.rows import AGAINST, OWN
from benchmarks.tables import number


@dataclass(frozen=True)
class Goal:
    """Goal for a method of this library: to be some times faster than the fastest of others, table by table.

    Args:
        workload: The workload.
        methods: Methods of this library.
        factor: How many times faster at least.
        library: The library to beat; None for whichever rival is fastest.
        others: Beginnings of that library's methods; any of them.
        update: The update that the goal is for.
        steps: The time steps that the goal is for; None for any.
        loss: The loss that the goal is for; None for any.
    """

    workload: str
    methods: tuple[str, ...]
    factor: float
    library: str | None = None
    others: tuple[str, ...] = ("",)
    update: str = "end"
    steps: int | None = None
    loss: str | None = None


@dataclass(frozen=True)
class Checked:
    """One goal, or one part of it, as a run answers it.

    Args:
        table: The table's name.
        claim: What was to be reached.
        found: What was found.
        reached: Whether it was; None where the run does not tell.
    """

    table: str
    claim: str
    found: str
    reached: bool | None


_EXACT = ("ottt", "eprop", "traced_bptt")
_DRTRL = "drtrl, decays per neuron"

PAIR = 0.95
"""Share of the other version's speed that every row is to have at least."""

GOALS: tuple[Goal, ...] = (
    Goal("W1", ("trace",), 15, "snnTorch"),
    Goal("W1", ("trace",), 5),
    Goal("W1", ("trace",), 1 / 1.3, OWN.name, ("inference",)),
    Goal("W1", ("cascade",), 1 / 2, OWN.name, ("trace",), loss="last"),
    Goal("W1", ("cascade",), 1 / 1.3, OWN.name, ("trace",), loss="every"),
    Goal("W1", _EXACT, 4, "snnTorch"),
    Goal("W1", _EXACT, 2),
    Goal("W1", (_DRTRL,), 50, "BrainTrace", ("D_RTRL, lean",), steps=1000),
    Goal("W1", (_DRTRL,), 50, "BrainTrace", ("D_RTRL, windows", "D_RTRL, lean, windows"), steps=1000),
    Goal("W2", ("trace", "ottt"), 2.5, "SpikingJelly", ("OTTT",), update="each"),
    Goal("W2", ("trace", "ottt"), 2, "snnTorch", ("cut",), update="each"),
    Goal("W2", ("trace, tt.Stream", "ottt, tt.Stream"), 20, "snnTorch", ("cut",), update="each"),
    Goal("W2", ("trace, scanned", "ottt, scanned"), 1, "BrainTrace", ("pp_prop",)),
    Goal("W2", ("trace, scanned", "ottt, scanned"), 1, "BrainTrace", ("D_RTRL",)),
    Goal("W6", ("trace", "ottt", "drtrl", "eprop"), 6, "snnTorch"),
    Goal("W6", ("trace", "ottt", "drtrl", "eprop"), 2),
    *(Goal("W6", (rule,), 1 / 2, OWN.name, (f"feed-forward {rule}",)) for rule in ("trace", "ottt", "drtrl", "eprop")),
    Goal("W1u", ("trace, own neuron",), 1 / 1.3, OWN.name, ("trace, ALIF",)),
    Goal("W1l", ("trace, learned half-lives",), 1 / 1.5, OWN.name, ("trace, fixed",)),
    *(
        Goal("W2v", (method,), 1 / 2, OWN.name, ("fixed decays",), update="each")
        for method in ("learned decays", "dense recurrence", "eprop, dense recurrence")
    ),
    Goal("W5", ("trace", "ottt", "eprop"), 2, "SpikingJelly", ("BPTT",)),
)


def check(report: Report) -> list[Checked]:
    """Check a run against the goals.

    Args:
        report: The run.

    Returns:
        One line for each goal, method and table that the run has.
    """
    found = [c for goal in GOALS for table in report.tables for c in _compare(goal, table)]
    return [*found, *_memory(report), *_pairs(report)]


def _compare(goal: Goal, table: Table) -> Iterable[Checked]:
    if (table.workload, table.update) != (goal.workload, goal.update) or table.skipped:
        return
    if goal.steps not in (None, table.steps):
        return
    if goal.loss not in (None, table.loss):
        return
    others = [r for r in table.rows if r.valid and _is_other(goal, r)]
    for method in goal.methods:
        own = table.row(OWN.name, method)
        if own is None:
            continue
        whom = (
            f"{goal.library} {' or '.join(repr(o) for o in goal.others if o)}".strip() if goal.library else "any rival"
        )
        claim = f"{method} {number(goal.factor)} times as fast as {whom}"
        if not own.valid or not others:
            yield Checked(table.name, claim, "not measured", None)
            continue
        best = min(others, key=lambda r: r.median)
        ratio = best.median / own.median
        yield Checked(table.name, claim, f"{number(ratio)} times ({best.name})", ratio >= goal.factor)


def _is_other(goal: Goal, row: Measured) -> bool:
    if goal.library is None:
        return row.library not in (OWN.name, AGAINST)
    exact = goal.others if goal.others == ("D_RTRL, lean",) else None
    if row.library != goal.library:
        return False
    return row.method in exact if exact else row.method.startswith(goal.others)


def _memory(report: Report) -> Iterable[Checked]:
    """Check that peak memory and seconds per step stay as they are from a thousand steps to the longest sequence."""
    tables = sorted((t for t in report.tables if t.workload == "W3" and t.steps >= 1000), key=lambda t: t.steps)
    if len(tables) < 2:
        return
    first, last = tables[0], tables[-1]
    for row in last.rows:
        before = first.row(row.library, row.method)
        if row.library != OWN.name or before is None or not (row.valid and before.valid):
            continue
        more = row.peak_mb - before.peak_mb
        name = f"W3, T={first.steps} to {last.steps}"
        yield Checked(name, f"{row.method}: peak memory within 5 MB", f"{more:+.1f} MB", more <= 5)
        slower = (row.median / last.steps) / (before.median / first.steps)
        yield Checked(
            name, f"{row.method}: seconds per step within 10 %", f"{100 * (slower - 1):+.0f} %", slower <= 1.1
        )


def _pairs(report: Report) -> Iterable[Checked]:
    """Check that no row is slower than in the other version that took turns with it."""
    for table in report.tables:
        for method, ratios in table.pairs().items():
            ratio = statistics.median(ratios)
            yield Checked(
                table.name, f"{method}: {PAIR} times the other version's speed", f"{number(ratio)} times", ratio >= PAIR
            )


def as_markdown(checked: list[Checked]) -> str:
    """Return the goals as a Markdown table.

    Args:
        checked: What `check` returned.

    Returns:
        The text; empty where there is nothing to tell.
    """
    if not checked:
        return ""
    words = {True: "yes", False: "**no**", None: "–"}
    lines = ["## Goals", "", "| table | goal | found | reached |", "| --- | --- | --- | --- |"]
    lines += [f"| {c.table} | {c.claim} | {c.found} | {words[c.reached]} |" for c in checked]
    told = [c for c in checked if c.reached is not None]
    reached = math.fsum(bool(c.reached) for c in told)
    return "\n".join([*lines, "", f"{reached:.0f} of {len(told)} reached.", ""])
