"""Learning rules compared: score, time and memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tracetorch.plot.curves import Curve, draw_curves
from tracetorch.plot.style import dress, label, legend, new_figure, rule_styles, to_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def comparison(
    measures: Mapping[str, Mapping[str, npt.ArrayLike]],
    *,
    learning: Mapping[str, Curve] | None = None,
    learning_label: str = "",
    title: str | None = None,
) -> Figure:
    """Draw rules as rows and measures as columns: a dot per seed, the mean and one standard deviation.

    Args:
        measures: For each measure (a column; its name says the unit) the values by rule, ``[seeds]``. Rules keep the
            order of the first measure; a rule may lack a measure.
        learning: Learning curves by rule, ``(x [n], y [seeds, n])``, drawn above the columns.
        learning_label: Name of the learning curves' vertical axis.
        title: Text above the figure.

    Returns:
        The figure.

    Raises:
        ValueError: There is no measure or no rule.
        ImportError: matplotlib is not installed.

    Example:
        >>> figure = comparison({"accuracy": {"trace": [0.9, 0.92], "sltt": [0.7, 0.72]}, "seconds": {"trace": [3.0]}})
        >>> len(figure.axes)
        2
    """
    rules = list(dict.fromkeys(rule for values in measures.values() for rule in values))
    if not rules:
        raise ValueError(f"comparison needs at least one measure of at least one rule, got {dict(measures)!r}")
    styles = dict(zip(rules, rule_styles(rules), strict=True))
    rows_height = 0.9 + 0.27 * len(rules)
    if learning:
        size = (8.2, rows_height + 3.2)
        figure, axes = new_figure(2, len(measures), size=size, height_ratios=[2.6, rows_height], title=title)
        grid = axes[0, 0].get_gridspec()
        for ax in axes[0]:
            ax.remove()
        top = figure.add_subplot(grid[0, :])
        _draw_learning(top, learning, learning_label)
    else:
        figure, axes = new_figure(1, len(measures), size=(8.2, rows_height + 0.4), title=title)
    for column, (name, values) in enumerate(measures.items()):
        ax = axes[-1, column]
        for row, rule in enumerate(rules):
            if rule in values:
                _draw_row(ax, row, np.atleast_1d(to_array(values[rule])).astype(float), styles[rule])
        ax.set_yticks(range(len(rules)), rules if column == 0 else [""] * len(rules))
        ax.set_ylim(len(rules) - 0.4, -0.6)
        label(ax, x=name)
        ax.xaxis.get_major_locator().set_params(nbins=5)
    return figure


def _draw_learning(ax: Axes, learning: Mapping[str, Curve], y_label: str) -> None:
    """Draw the learning curves with a legend beside them."""
    dress(ax)
    draw_curves(ax, learning)
    label(ax, x="iteration", y=y_label)
    legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_row(ax: Axes, row: int, values: npt.NDArray[np.float64], style: Mapping[str, Any]) -> None:
    """Draw one rule's values of one measure: pale dots per seed, a strong mean, a bar of one standard deviation."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    look = {"color": style["color"], "marker": style["marker"], "linestyle": ""}
    ax.plot(values, np.full(len(values), row), alpha=0.35, markersize=3.5, markeredgewidth=0, **look)
    ax.errorbar(values.mean(), row, xerr=spread, markersize=5, elinewidth=1.4, capsize=2.5, **look)
