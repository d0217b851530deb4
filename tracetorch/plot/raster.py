"""Spike rasters: one row per unit, one mark per spike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tracetorch.plot.style import COLOURS, GREY, label, label_time, new_figure, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def raster(
    spikes: Mapping[str, Tensor | npt.ArrayLike] | Tensor | npt.ArrayLike,
    *,
    title: str | None = None,
    seconds_per_step: float | None = None,
) -> Figure:
    """Draw which unit spiked when, one panel per layer.

    Args:
        spikes: ``[T, units]``, or several of them by name, drawn below each other on one time axis; non-zero is a
            spike. Further dimensions (channels, height, width) count as units.
        title: Text above the figure.
        seconds_per_step: Duration of a time step; with it the time axis is in seconds, without it in steps.

    Returns:
        The figure.

    Raises:
        ValueError: There is nothing to draw, or an array has no time step or no unit.
        ImportError: matplotlib is not installed.

    Example:
        >>> import torch
        >>> figure = raster({"input": torch.rand(50, 8) < 0.1, "hidden": torch.rand(50, 20) < 0.05})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['input', 'hidden']
    """
    arrays = panels(spikes, "unit")
    if not arrays:
        raise ValueError("raster needs at least one array of spikes, got an empty mapping")
    heights = [float(np.clip(array.shape[1], 12, 80)) for array in arrays.values()]
    size = (7.2, 0.9 + 0.028 * sum(heights) + 0.25 * len(arrays))
    figure, axes = new_figure(len(arrays), size=size, sharex=True, height_ratios=heights, title=title)
    scale = seconds_per_step or 1.0
    length = max(array.shape[0] for array in arrays.values())
    mark = float(np.clip(160.0 / length, 0.9, 4.0))  # points: about a third of a step's width
    for index, (name, array) in enumerate(arrays.items()):
        ax = axes[index, 0]
        steps, units = np.nonzero(array)
        row_points = 0.028 * 72 * heights[index] / array.shape[1]
        ax.scatter(
            steps * scale,
            units,
            marker="|",
            s=float(np.clip(row_points, 1.8, 6.0)) ** 2,
            linewidths=mark,
            color=COLOURS[index % len(COLOURS)],
            rasterized=True,
        )
        ax.set_ylim(array.shape[1] - 0.5, -0.5)
        ax.set_xlim(-0.5 * scale, (length - 0.5) * scale)
        ax.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        ax.grid(visible=False)
        label(ax, y=name)
        ax.set_title(f"spikes in {100 * np.mean(array != 0):.1f} % of steps", loc="right", fontsize=8, color=GREY)
    label_time(axes, seconds_per_step)
    return figure
