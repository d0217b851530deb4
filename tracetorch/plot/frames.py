"""Frames of an episode beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy.typing as npt
from torch import Tensor

from tracetorch.plot.style import new_figure, to_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def frames(pictures: Tensor | npt.ArrayLike, *, columns: int = 4, title: str | None = None) -> Figure:
    """Draw frames in reading order.

    Args:
        pictures: ``[frames, height, width, 3]``, bytes or numbers in [0, 1].
        columns: Number of frames in a row.
        title: Text above the figure.

    Returns:
        The figure.

    Raises:
        ValueError: There is no frame, or the shape is another.
        ImportError: matplotlib is not installed.

    Example:
        >>> import torch
        >>> len(frames(torch.zeros(5, 8, 8, 3, dtype=torch.uint8)).axes)
        8
    """
    array = to_array(pictures)
    if array.ndim != 4 or array.shape[-1] != 3 or not len(array):
        raise ValueError(f"frames are [frames, height, width, 3] with at least one, got {list(array.shape)}")
    rows = -(-len(array) // columns)
    figure, axes = new_figure(rows, columns, size=(1.9 * columns, 0.4 + 1.4 * rows), title=title)
    for index, ax in enumerate(axes.flat):
        ax.set_axis_off()
        if index < len(array):
            ax.imshow(array[index])
    return figure
