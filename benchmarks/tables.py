"""A run as Markdown."""

from __future__ import annotations

import math
import statistics

from benchmarks.results import Measured, Report, Table, quartiles
from benchmarks.rows import BASIS, OWN


def as_markdown(report: Report) -> str:
    """Return a run as a Markdown document.

    Args:
        report: The run.

    Returns:
        The text.
    """
    parts = ["# Benchmarks", "", machine_lines(report), ""]
    for table in report.tables:
        parts += [f"## {table.name}", "", table_lines(table), ""]
    return "\n".join(parts)


def machine_lines(report: Report) -> str:
    """Return machine, versions and the manner of measuring in a few lines."""
    machine = report.machine
    memory = machine.get("memory_gb")
    lines = [
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores of which each row has "
        f"{machine['threads']}, {'?' if memory is None else memory} GB, GPU: {machine.get('gpu') or 'none'}, "
        f"{machine['system']}; load {machine.get('load')} at the start and {machine.get('load_after')} at the end.",
        "",
        "Times are medians; rows took turns, each in its own process. `ratio`: times longer than "
        f"{OWN.name}'s `{BASIS}`. `added`: peak memory over that before the first repetition.",
        "",
    ]
    for library, versions in report.versions().items():
        lines.append(f"- {library}: " + ", ".join(f"{k} {v}" for k, v in versions.items()))
    return "\n".join(lines)


def table_lines(table: Table) -> str:
    """Return one group as a Markdown table, its notes under it."""
    if table.skipped:
        return f"Skipped: {table.skipped}"
    head = ["library", "method", *_unit(table), "ratio", "peak MB", "added MB", "firing rates"]
    lines = [describe(table), "", _line(head), _line(["---"] * 2 + ["---:"] * (len(head) - 2))]
    notes: dict[str, int] = {}
    for row in table.rows:
        said = [*row.notes, *([f"{row.name} failed: {row.error}"] if row.error else [])]
        marks = "".join(f" [{notes.setdefault(text, len(notes) + 1)}]" for text in said)
        lines.append(_line([row.library, row.method + marks, *_cells(table, row)]))
    lines += [*([""] if notes else []), *(f"{i}. {text}" for text, i in notes.items())]
    return "\n".join([*lines, *pair_lines(table)])


def pair_lines(table: Table) -> list[str]:
    """Return the ratios to another version as a Markdown table; nothing where none ran."""
    pairs = table.pairs()
    if not pairs:
        return []
    lines = [
        "",
        _line(["method", "seconds of the other version over ours", "quartiles over turns"]),
        "| --- | ---: | --- |",
    ]
    for method, ratios in pairs.items():
        low, high = quartiles(ratios)
        lines.append(_line([method, number(statistics.median(ratios)), f"{number(low)} to {number(high)}"]))
    return lines


def describe(table: Table) -> str:
    """Return the settings of a group in one line."""
    settings = table.settings
    network = settings["network"]
    sizes = "-".join(str(n) for n in (*network["inputs"], *network["hidden"], network["outputs"]))
    words = [f"{table.title}: {sizes}", f"batch {settings['batch']}", f"T = {table.steps}"]
    words += [
        f"loss on {'the last output' if table.loss == 'last' else 'every output'}",
        f"{settings['optimizer']}, {'a step each time step' if table.update == 'each' else 'one step'}",
        f"{settings['density']:.0%} input events",
        f"half-life {network['half_life']:g} steps",
    ]
    if network.get("recurrence"):
        words.append("dense recurrence")
    return ", ".join([*words, table.dtype])


def _unit(table: Table) -> list[str]:
    if table.kind == "stream":
        return ["µs/step", "optimizer µs", "quartiles"]
    return ["µs/step"] if table.kind == "memory" else ["ms/iteration", "quartiles"]


def _cells(table: Table, row: Measured) -> list[str]:
    scale = 1e6 / table.steps if table.kind in ("stream", "memory") else 1e3
    cells = [number(row.median * scale)]
    if table.kind == "stream":
        cells.append(number(row.optimizer * 1e6) if row.optimizer is not None else "–")
    if table.kind in ("stream", "iteration"):
        low, high = row.quartiles()
        cells.append("–" if math.isnan(low) else f"{number(low * scale)} to {number(high * scale)}")
    rates = ", ".join(f"{100 * r:.1f} %" for r in row.rates) or "–"
    peak = row.peak_mb if row.device_mb is None else row.device_mb
    return [*cells, number(table.ratio(row)), number(peak), number(row.growth_mb), rates]


def number(value: float) -> str:
    """Return a number with three digits that count.

    Args:
        value: The number.

    Returns:
        Its text; a dash where it is not a number.

    Example:
        >>> number(0.012345), number(12.345), number(1234.5), number(float("nan"))
        ('0.0123', '12.3', '1234', '–')
    """
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
