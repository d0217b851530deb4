"""Traces and states over time: membranes, filtered spikes, readouts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tracetorch.plot.style import label, label_time, legend, line_styles, new_figure, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def traces(
    values: Mapping[str, Tensor | npt.ArrayLike] | Tensor | npt.ArrayLike,
    *,
    units: int = 6,
    thresholds: Mapping[str, float] | None = None,
    title: str | None = None,
    seconds_per_step: float | None = None,
) -> Figure:
    """Draw state variables, traces or outputs over time, one panel per name and one line per unit.

    Args:
        values: ``[T, units]``, or several of them by name, drawn below each other on one time axis.
        units: How many units of each to draw at most, the first ones.
        thresholds: A level to mark in the panel of a name, for example the firing threshold.
        title: Text above the figure.
        seconds_per_step: Duration of a time step; with it the time axis is in seconds, without it in steps.

    Returns:
        The figure.

    Raises:
        ValueError: There is nothing to draw, an array has no time step or no unit, or `units` is not positive.
        ImportError: matplotlib is not installed.

    Example:
        >>> import torch
        >>> figure = traces({"membrane": torch.randn(100, 3).cumsum(0)}, thresholds={"membrane": 1.0})
        >>> len(figure.axes[0].lines)
        4
    """
    arrays = panels(values, "value")
    if not arrays:
        raise ValueError("traces needs at least one array, got an empty mapping")
    if units < 1:
        raise ValueError(f"units must be at least 1, got {units}")
    figure, axes = new_figure(len(arrays), size=(7.2, 0.8 + 1.5 * len(arrays)), sharex=True, title=title)
    scale = seconds_per_step or 1.0
    for index, (name, array) in enumerate(arrays.items()):
        ax = axes[index, 0]
        time = np.arange(array.shape[0]) * scale
        shown = min(units, array.shape[1])
        for unit, style in enumerate(line_styles(shown)):
            ax.plot(time, array[:, unit], linewidth=1.0, label=str(unit), **{**style, "marker": ""})
        if thresholds and name in thresholds:
            ax.axhline(thresholds[name], color="#444444", linewidth=0.8, linestyle=(0, (4, 3)), label="threshold")
        label(ax, y=name)
        ax.margins(x=0.01)
        if shown > 1 or thresholds:
            legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)
    label_time(axes, seconds_per_step)
    return figure
