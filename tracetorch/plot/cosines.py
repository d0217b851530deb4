"""How near gradients are to a reference, against depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tracetorch.plot.curves import Curve
from tracetorch.plot.style import label, legend, new_figure, rule_styles, to_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def cosines(
    series: Mapping[str, Curve],
    *,
    x_label: str = "layers above",
    y_label: str = "cosine to BPTT",
    title: str | None = None,
) -> Figure:
    """Draw the cosine of each rule's gradient to a reference against depth: the mean, a bar from least to greatest.

    Args:
        series: By rule ``(depth [n], cosine [seeds, n])``, or ``cosine [n]``.
        x_label: What depth is: the layers above one layer, or the hidden layers of a network.
        y_label: What the cosine is of.
        title: Text above the figure.

    Returns:
        The figure.

    Raises:
        ValueError: There is no rule, or depth and cosine differ in length.
        ImportError: matplotlib is not installed.

    Example:
        >>> figure = cosines({"cascade": ([2, 4, 6], [[0.99, 0.98, 0.96]]), "sltt": ([2, 4], [0.4, 0.1])})
        >>> figure.axes[0].get_ylabel()
        'cosine to BPTT'
    """
    if not series:
        raise ValueError("cosines needs at least one rule, got none")
    figure, axes = new_figure(1, size=(7.2, 3.8), title=title)
    ax, least = axes[0, 0], 0.0
    places: set[float] = set()
    for index, ((name, (x, y)), style) in enumerate(zip(series.items(), rule_styles(list(series)), strict=True)):
        xs, ys = to_array(x).astype(float), np.atleast_2d(to_array(y)).astype(float)
        if xs.ndim != 1 or ys.ndim != 2 or xs.shape[0] != ys.shape[1]:
            raise ValueError(f"rule {name!r}: depth must be [n], cosine [n] or [seeds, n], got {xs.shape}, {ys.shape}")
        places |= set(xs)
        drawn = np.isfinite(ys).any(axis=0)  # a layer without a gradient has no cosine
        xs, ys = xs[drawn] + 0.03 * (index - (len(series) - 1) / 2), ys[:, drawn]
        ax.vlines(xs, np.nanmin(ys, axis=0), np.nanmax(ys, axis=0), color=style["color"], linewidth=1, alpha=0.6)
        ax.plot(xs, np.nanmean(ys, axis=0), linewidth=1.3, markersize=4.5, label=name, **style)
        least = min(least, float(np.nanmin(ys, initial=0.0)))
    ax.set_xticks(sorted(places))
    ax.set_ylim(least - 0.05, 1.05)
    label(ax, x=x_label, y=y_label)
    legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
