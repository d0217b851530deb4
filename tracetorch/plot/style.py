"""One look for all figures, without touching matplotlib's global settings."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222")
"""Seven colours that people with any colour vision can distinguish, on white.

Source: M. Okabe, K. Ito, "Color universal design: how to make figures and presentations that are friendly to
colorblind people", 2008, https://jfly.uni-koeln.de/color/ (their yellow is left out: too pale for a line).
"""

GREY = "#767676"
_DASHED, _DOTTED, _MIXED = (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2))
_LOOKS: tuple[tuple[Any, str], ...] = (("-", "o"), (_DASHED, "s"), (_DOTTED, "^"))
_RULES: dict[str, tuple[str, Any, str]] = {
    "trace": (COLOURS[0], "-", "o"),
    "cascade": (COLOURS[1], "-", "D"),
    "eprop": (COLOURS[2], _DASHED, "s"),
    "drtrl": (COLOURS[5], _DASHED, "^"),
    "ottt": (COLOURS[3], _MIXED, "v"),
    "traced_bptt": (COLOURS[4], "-", "p"),
    "tbptt": (COLOURS[4], _DOTTED, "P"),
    "sltt": (GREY, _DOTTED, "X"),
    "rate": (COLOURS[0], _DOTTED, "h"),
    "bptt": (COLOURS[6], "-", "*"),
    "frozen": (GREY, _MIXED, "d"),
}
"""Colour, dash and marker of each rule, the same in every figure."""


def require_matplotlib() -> None:
    """Raise now, rather than when a run is over, where figures cannot be drawn.

    Raises:
        ImportError: matplotlib is not installed; the message names the extra to install.

    Example:
        >>> require_matplotlib()
    """
    try:
        import matplotlib.figure  # noqa: F401 - only its presence is asked for
    except ImportError as error:
        raise ImportError("figures need matplotlib, which is not installed: pip install matplotlib") from error


def new_figure(
    rows: int, columns: int = 1, *, size: tuple[float, float], title: str | None = None, **gridspec: Any
) -> tuple[Figure, Array]:
    """Make a figure with a grid of axes in the library's look.

    Args:
        rows: Number of rows of axes.
        columns: Number of columns of axes.
        size: Width and height in inches.
        title: Text above the figure.
        **gridspec: What ``Figure.subplots`` takes besides, for example ``sharex=True``.

    Returns:
        The figure and its axes, ``[rows, columns]``.

    Example:
        >>> figure, axes = new_figure(1, 2, size=(7, 3))
        >>> axes.shape
        (1, 2)
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=144, layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False, **gridspec)
    for ax in axes.flat:
        dress(ax)
    if title is not None:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure, axes


def dress(ax: Axes) -> None:
    """Give axes the library's look: thin lines, no box, a quiet grid and the colour cycle.

    Args:
        ax: The axes, of any matplotlib figure.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().subplots()
        >>> dress(ax)
        >>> ax.spines["top"].get_visible()
        False
    """
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)
        ax.spines[side].set_linewidth(0.8)
    ax.tick_params(colors="#444444", labelsize=8, width=0.8, length=3)
    ax.grid(visible=True, color="#E6E6E6", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_prop_cycle(color=list(COLOURS))


def label(ax: Axes, *, title: str | None = None, x: str | None = None, y: str | None = None) -> None:
    """Write a title (left) and axis labels in the library's sizes; None leaves a text as it is.

    Args:
        ax: The axes.
        title: What is above them.
        x: What the horizontal axis shows, with its unit.
        y: What the vertical axis shows, with its unit.

    Example:
        >>> _, axes = new_figure(1, size=(4, 3))
        >>> label(axes[0, 0], x="time step")
        >>> axes[0, 0].get_xlabel()
        'time step'
    """
    if title is not None:
        ax.set_title(title, loc="left", fontsize=10, color="#222222")
    if x is not None:
        ax.set_xlabel(x, fontsize=9, color="#444444")
    if y is not None:
        ax.set_ylabel(y, fontsize=9, color="#444444")


def legend(ax: Axes, **where: Any) -> None:
    """Add a small frameless legend where `ax` has labelled series.

    Args:
        ax: The axes.
        **where: What ``Axes.legend`` takes besides, for example ``loc="upper left"``.

    Example:
        >>> _, axes = new_figure(1, size=(4, 3))
        >>> legend(axes[0, 0])  # nothing is labelled: no legend
        >>> axes[0, 0].get_legend() is None
        True
    """
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(handles, labels, frameon=False, fontsize=8, **where)


def line_styles(count: int) -> list[dict[str, Any]]:
    """Return colour, dash and marker for a number of series; dash and marker change once the colours are used up."""
    repeats = (count + len(COLOURS) - 1) // len(COLOURS)
    looks = islice(cycle(_LOOKS), repeats)
    return [{"color": c, "linestyle": dash, "marker": marker} for dash, marker in looks for c in COLOURS][:count]


def rule_styles(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return colour, dash and marker for labelled series: those of a rule if the label begins with its name.

    A rule looks the same in every figure, and differs from the others by marker and dash too, for print in grey. Other
    series of the same rule are hollow, with other markers. Labels that are not a rule's take the colours that are left.

    Args:
        names: Labels, such as ``"trace"``, ``"cascade(pairs=1)"`` or ``"tbptt:20"``.

    Returns:
        What matplotlib's ``plot`` takes, one for each.

    Example:
        >>> first, variant, other = rule_styles(["cascade", "cascade:pairs=1", "GRU"])
        >>> first["color"] == variant["color"], first["color"] == other["color"]
        (True, False)
    """
    rules = [match.group() if (match := re.match(r"[a-z_]+", name)) else "" for name in names]
    used = {_RULES[rule][0] for rule in rules if rule in _RULES}
    spare = [style for style in line_styles(2 * len(COLOURS)) if style["color"] not in used]
    others = cycle(spare or line_styles(len(names)))
    styles: list[dict[str, Any]] = []
    for place, rule in enumerate(rules):
        if rule not in _RULES:
            styles.append(dict(next(others)))
            continue
        colour, dash, marker = _RULES[rule]
        if before := rules[:place].count(rule):
            dash, marker = ((_DOTTED, "o"), (_DASHED, "s"), (_MIXED, "^"))[before % 3]
        styles.append({"color": colour, "linestyle": dash, "marker": marker})
        if before:
            styles[-1]["markerfacecolor"] = "white"
    return styles


def to_array(values: Tensor | npt.ArrayLike) -> Array:
    """Return `values` as a NumPy array, detached and on the CPU where it is a tensor."""
    if isinstance(values, Tensor):
        values = values.detach().to("cpu")
        return np.asarray(values.float() if values.dtype in (torch.bfloat16, torch.float16) else values)
    return np.asarray(values)


def time_by_unit(values: Tensor | npt.ArrayLike, name: str) -> Array:
    """Return values as ``[T, units]``, further dimensions flattened; `name` is what an error calls them."""
    array = to_array(values)
    if array.ndim < 2 or array.shape[0] == 0 or array.size == 0:
        raise ValueError(
            f"{name!r} must be [time steps, units] with at least one of each, got the shape {list(array.shape)}: "
            "for one row of a batch [T, B, units] pass values[:, row]"
        )
    return array.reshape(array.shape[0], -1)


def panels(values: Mapping[str, Tensor | npt.ArrayLike] | Tensor | npt.ArrayLike, name: str) -> dict[str, Array]:
    """Return arrays by name as ``[T, units]``; one alone has the given name."""
    several = values if isinstance(values, Mapping) else {name: values}
    return {name: time_by_unit(array, name) for name, array in several.items()}


def label_time(axes: Array, seconds_per_step: float | None) -> None:
    """Label the horizontal axis of the lowest of some panels: time in seconds, or in whole steps."""
    if not seconds_per_step:
        axes[-1, 0].xaxis.get_major_locator().set_params(integer=True)
    label(axes[-1, 0], x="time (s)" if seconds_per_step else "time step")


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure to a file, whole or not at all.

    Args:
        figure: What one of this package's functions returned.
        path: Where to write; the ending gives the format (``.png``, ``.svg``, ``.pdf``). Missing folders are made.

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> figure, axes = new_figure(1, size=(4, 3))
        >>> save(figure, f"{tempfile.mkdtemp()}/figure.png").name
        'figure.png'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        figure.savefig(temporary, format=target.suffix.lstrip(".") or "png")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
