"""Code a signal by its level crossings (delta modulation), as an event sensor does."""

from __future__ import annotations

import torch
from torch import Tensor


class DeltaModulation:
    r"""Up and down spikes where a signal has left the last sent level by a threshold.

    .. math::
        u_t = [x_t - r_{t-1} \ge \theta], \quad d_t = [r_{t-1} - x_t \ge \theta], \quad
        r_t = r_{t-1} + \theta (u_t - d_t)

    At most one spike a step, so the level follows at no more than one threshold per step. The level lives on
    from call to call: a stream may be coded in pieces of any size. A value that is not finite sends no spike and
    leaves the level; where it is the first one, the channel's level is its first finite value.

    Args:
        threshold: Size of a level, in the signal's unit; a float, or a tensor `[*in]` that broadcasts with a time
            step.

    Raises:
        ValueError: The threshold is not positive.

    Example:
        >>> import torch
        >>> code = DeltaModulation(0.5)
        >>> code(torch.tensor([0.0, 0.6, 0.6, -0.1])).tolist()
        [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]

    Source: Event-driven level-crossing sampling: "A 128x128 120 dB 15 us latency asynchronous temporal contrast vision
    sensor", P. Lichtsteiner, C. Posch, T. Delbruck, 2008, https://doi.org/10.1109/JSSC.2007.914337
    """

    def __init__(self, threshold: float | Tensor) -> None:
        if not bool(torch.as_tensor(threshold > 0).all()):
            raise ValueError(f"threshold must be positive, got {threshold}")
        self.threshold = threshold
        self.level: Tensor | None = None

    def reset(self) -> None:
        """Forget the level: the next signal's first value becomes it."""
        self.level = None

    def __call__(self, signal: Tensor) -> Tensor:
        """Code a part of the signal.

        Args:
            signal: ``[T, *shape]``, floating point.

        Returns:
            ``[T, *shape, 2]``: the up spikes, then the down spikes, 0 or 1.

        Raises:
            ValueError: The signal is empty or not floating point, or has another shape than the calls before.
        """
        if signal.dim() == 0 or signal.shape[0] == 0 or not signal.is_floating_point():
            raise ValueError(f"signal is [T, ...] in floating point, got {tuple(signal.shape)} of {signal.dtype}")
        if self.level is not None and self.level.shape != signal.shape[1:]:
            raise ValueError(
                f"signal has steps of shape {list(signal.shape[1:])}, the calls before had {list(self.level.shape)}; "
                f"call reset() before another signal"
            )
        level = torch.full_like(signal[0], torch.nan) if self.level is None else self.level
        out = torch.empty((*signal.shape, 2), dtype=signal.dtype, device=signal.device)
        for t, value in enumerate(signal):
            finite = torch.isfinite(value)
            level = torch.where(torch.isfinite(level) | ~finite, level, value)
            up = (finite & (value - level >= self.threshold)).to(signal.dtype)
            down = (finite & (level - value >= self.threshold)).to(signal.dtype)
            level = level + self.threshold * (up - down)
            out[t, ..., 0] = up
            out[t, ..., 1] = down
        self.level = level
        return out
