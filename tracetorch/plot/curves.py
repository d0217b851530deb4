"""Curves against a common axis: learning curves and running scores, with a band over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tracetorch.plot.style import label, legend, new_figure, rule_styles, to_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[npt.ArrayLike, npt.ArrayLike]


def curves(panels: Mapping[str, Mapping[str, Curve]], *, x_label: str = "", title: str | None = None) -> Figure:
    """Draw one panel per name, each with labelled curves, all on one horizontal axis.

    Args:
        panels: For each panel's name (its vertical axis) the curves by label: ``(x [n], y [n])``, or
            ``(x [n], y [seeds, n])``, drawn as the mean with a band of one standard deviation.
        x_label: Name and unit of the horizontal axis.
        title: Text above the figure.

    Returns:
        The figure.

    Raises:
        ValueError: There is nothing to draw, or x and y differ in length.
        ImportError: matplotlib is not installed.

    Example:
        >>> figure = curves({"accuracy": {"trace": ([0, 10, 20], [0.5, 0.7, 0.9])}}, x_label="iteration")
        >>> figure.axes[0].get_ylabel()
        'accuracy'
    """
    if not panels or not all(panels.values()):
        raise ValueError(f"curves needs panels with at least one curve each, got {dict(panels)!r}")
    figure, axes = new_figure(len(panels), size=(7.2, 0.8 + 2.2 * len(panels)), sharex=True, title=title)
    for ax, (name, series) in zip(axes[:, 0], panels.items(), strict=True):
        draw_curves(ax, series)
        label(ax, y=name)
        if len(series) > 1:
            legend(ax, loc="best")
    label(axes[-1, 0], x=x_label)
    return figure


def draw_curves(ax: Axes, series: Mapping[str, Curve]) -> None:
    """Draw labelled curves on `ax`: lines, points where there are few, a band where there are seeds."""
    for (name, (x, y)), style in zip(series.items(), rule_styles(list(series)), strict=True):
        xs, ys = to_array(x), np.atleast_2d(to_array(y)).astype(float)
        if xs.ndim != 1 or ys.ndim != 2 or xs.shape[0] != ys.shape[1]:
            raise ValueError(f"curve {name!r}: x must be [n] and y [n] or [seeds, n], got {xs.shape} and {ys.shape}")
        mean = ys.mean(axis=0)
        marks = {"markersize": 3.5} if len(xs) <= 40 else {"marker": ""}
        ax.plot(xs, mean, linewidth=1.3, label=name, **{**style, **marks})
        if ys.shape[0] > 1:
            spread = ys.std(axis=0, ddof=1)
            ax.fill_between(xs, mean - spread, mean + spread, color=style["color"], alpha=0.15, linewidth=0)


def learning_curve(
    records: Sequence[Mapping[str, Any]], *, metric: str = "accuracy", title: str | None = None
) -> Figure:
    """Draw loss and score over the iterations of a run, from its log.

    Args:
        records: The lines of a run's ``metrics.jsonl``: those of kind ``"train"`` and ``"eval"`` are drawn.
        metric: The score's name in the records.
        title: Text above the figure.

    Returns:
        The figure.

    Raises:
        ValueError: No record holds a loss or the score.
        ImportError: matplotlib is not installed.

    Example:
        >>> log = [{"kind": "train", "iteration": i, "loss": 1 / i, "accuracy": 1 - 1 / i} for i in range(1, 9)]
        >>> [axes.get_ylabel() for axes in learning_curve(log).figure.axes]
        ['loss', 'accuracy']
    """
    panels: dict[str, dict[str, Curve]] = {}
    for panel in dict.fromkeys(("loss", metric)):
        for kind, name in (("train", "training"), ("eval", "held out")):
            chosen = [r for r in records if r.get("kind") == kind and panel in r]
            if chosen:
                points = ([r["iteration"] for r in chosen], [r[panel] for r in chosen])
                panels.setdefault(panel, {})[name] = points
    if not panels:
        raise ValueError(f"none of the {len(records)} records holds 'loss' or {metric!r}: nothing to draw")
    return curves(panels, x_label="iteration", title=title)
