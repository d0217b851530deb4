"""A run as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.results import Report, Table
from benchmarks.rows import OWN
from tracetorch.plot.style import COLOURS, GREY, label, legend, line_styles, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(report: Report) -> Figure:
    """Draw a run: bars of time for each group, and memory against time steps.

    Args:
        report: The run.

    Returns:
        The figure.

    Raises:
        ValueError: There is nothing to draw.
        ImportError: matplotlib is not installed.
    """
    timed = [t for t in report.tables if t.kind != "memory" and any(r.valid for r in t.rows)]
    long = [t for t in report.tables if t.kind == "memory" and any(r.valid for r in t.rows)]
    if not timed and not long:
        raise ValueError("no row of this run has a result to draw")
    heights = [0.8 + 0.24 * sum(r.valid for r in t.rows) for t in timed] + ([3.2] if long else [])
    figure, axes = new_figure(len(heights), size=(8.0, sum(heights)), height_ratios=heights)
    for ax, table in zip(axes[:, 0], timed, strict=False):
        _bars(ax, table)
    if long:
        _curves(axes[-1, 0], long)
    return figure


def _bars(ax: Axes, table: Table) -> None:
    rows = sorted((r for r in table.rows if r.valid), key=lambda r: -r.median)
    scale = 1e6 / table.steps if table.kind == "stream" else 1e3
    colours = [COLOURS[0] if r.library == OWN.name else GREY for r in rows]
    bars = ax.barh([r.name for r in rows], [r.median * scale for r in rows], color=colours, height=0.7)
    ax.bar_label(bars, fmt="%.3g", padding=3, fontsize=7, color="#444444")
    ax.set_xscale("log")
    ax.margins(x=0.12)
    ax.grid(visible=False, axis="y")
    label(ax, title=table.name, x="µs per step" if table.kind == "stream" else "ms per iteration")


def _curves(ax: Axes, tables: list[Table]) -> None:
    names = list(dict.fromkeys(row.name for table in tables for row in table.rows if row.valid))
    for name, style in zip(names, line_styles(len(names)), strict=True):
        points = [(t.steps, r.growth_mb) for t in tables for r in t.rows if r.name == name and r.valid]
        steps, added = zip(*sorted(points), strict=True)
        ax.plot(steps, [max(a, 0.1) for a in added], label=name, linewidth=1.2, markersize=4, **style)
    ax.set_xscale("log")
    ax.set_yscale("log")
    label(ax, title=f"{tables[0].workload}: memory", x="time steps", y="MB added at the peak")
    legend(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0))
