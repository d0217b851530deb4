"""Half-lives before and after learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tracetorch.plot.style import COLOURS, GREY, label, legend, new_figure, require_matplotlib, to_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def half_lives(
    layers: Mapping[str, tuple[Tensor | npt.ArrayLike, Tensor | npt.ArrayLike]], *, title: str | None = None
) -> Figure:
    """Draw how each layer's half-lives are spread before and after learning, sorted, on a logarithmic axis.

    Args:
        layers: For each layer its half-lives before and after, each ``[units]`` (or one shared value), in steps.
        title: Text above the figure.

    Returns:
        The figure.

    Raises:
        ValueError: There is no layer.
        ImportError: matplotlib is not installed.

    Example:
        >>> import torch
        >>> figure = half_lives({"hidden": (torch.full((20,), 10.0), torch.linspace(5, 200, 20))})
        >>> figure.axes[0].get_yscale()
        'log'
    """
    if not layers:
        raise ValueError("half_lives needs at least one layer, got an empty mapping")
    require_matplotlib()
    from matplotlib.ticker import LogLocator, NullFormatter

    widths = [3.0 if to_array(after).size > 8 else 1.2 for _, after in layers.values()]
    figure, axes = new_figure(
        1, len(layers), size=(0.8 + sum(widths), 2.8), sharey=True, width_ratios=widths, title=title
    )
    for ax, (name, pair) in zip(axes[0], layers.items(), strict=True):
        before, after = (np.sort(to_array(values).astype(float).ravel()) for values in pair)
        for values, text, colour in ((before, "before", GREY), (after, "after", COLOURS[0])):
            size = 3.5 if len(values) > 8 else 7.0
            ax.plot(
                np.arange(1, len(values) + 1),
                values,
                ".-",
                markersize=size,
                linewidth=1,
                color=colour,
                label=text,
            )
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_xlim(0.5 - 0.02 * len(after), len(after) + 0.5 + 0.02 * len(after))
        ax.xaxis.get_major_locator().set_params(integer=True, nbins=min(6, len(after)))
        label(ax, title=name, x="unit, sorted")
    label(axes[0, 0], y="half-life (steps)")
    legend(axes[0, 0], loc="best")
    return figure
