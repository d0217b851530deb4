"""The psychometric curve: how often an answer is given, against the stimulus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tracetorch.plot.style import COLOURS, GREY, Array, label, legend, new_figure, to_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Z = 1.959964  # 97.5 % quantile of the normal distribution


def psychometric(
    points: Tensor | npt.ArrayLike,
    *,
    x_label: str = "stimulus",
    y_label: str = "P(answer)",
    title: str | None = None,
) -> Figure:
    r"""Draw the share of one answer against the stimulus, with 95 % intervals and the ideal observer.

    The intervals are Wilson's: with :math:`p` the share, :math:`n` trials and :math:`z = 1.96`,

    .. math:: \frac{p + z^2/2n \pm z\sqrt{p(1-p)/n + z^2/4n^2}}{1 + z^2/n}

    Args:
        points: ``[points, 4]``: stimulus, share of the answer by the network, by the ideal observer (NaN where there
            is none), number of trials.
        x_label: Name and unit of the stimulus.
        y_label: Name of the answer's share.
        title: Text above the figure.

    Returns:
        The figure.

    Raises:
        ValueError: `points` has another shape or no point with trials.
        ImportError: matplotlib is not installed.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927,
    https://doi.org/10.1080/01621459.1927.10502953

    Example:
        >>> figure = psychometric([[-1.0, 0.1, 0.0, 50], [0.0, 0.5, 0.5, 50], [1.0, 0.95, 1.0, 50]])
        >>> len(figure.axes)
        1
    """
    table = to_array(points).astype(float)
    if table.ndim != 2 or table.shape[1] != 4:
        raise ValueError(f"points must be [points, 4] (stimulus, network, ideal, trials), got shape {table.shape}")
    table = table[table[:, 3] > 0]
    if len(table) == 0:
        raise ValueError("points holds no stimulus with trials: nothing to draw")
    stimulus, network, ideal, trials = table[np.argsort(table[:, 0])].T
    low, high = wilson(network, trials)
    figure, axes = new_figure(1, size=(4.6, 3.6))
    ax = axes[0, 0]
    ax.axhline(0.5, color="#BBBBBB", linewidth=0.8)
    ax.axvline(0.0, color="#BBBBBB", linewidth=0.8)
    if not np.all(np.isnan(ideal)):
        ax.plot(stimulus, ideal, color=GREY, linestyle=(0, (5, 2)), linewidth=1.3, label="ideal observer")
    ax.fill_between(stimulus, low, high, color=COLOURS[0], alpha=0.18, linewidth=0, label="95 % interval")
    ax.plot(stimulus, network, "o-", color=COLOURS[0], markersize=3.5, linewidth=1.3, label="network")
    ax.set_ylim(-0.03, 1.03)
    label(ax, title=title, x=x_label, y=y_label)
    legend(ax, loc="upper left")
    return figure


def wilson(share: Array, trials: Array) -> tuple[Array, Array]:
    """Return Wilson's 95 % interval of a share, both ends in [0, 1].

    Args:
        share: Observed shares, ``[points]``.
        trials: Number of trials of each, ``[points]``, positive.

    Returns:
        Lower and upper ends, ``[points]`` each.

    Example:
        >>> low, high = wilson(np.array([0.0, 1.0]), np.array([10.0, 10.0]))
        >>> [round(float(v), 3) for v in (low[0], high[0], low[1], high[1])]
        [0.0, 0.278, 0.722, 1.0]
    """
    scale = 1 + _Z**2 / trials
    middle = (share + _Z**2 / (2 * trials)) / scale
    half = _Z * np.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2)) / scale
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)
