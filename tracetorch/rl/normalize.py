"""Running statistics that bring observations and rewards to unit scale, as a stream allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]


class _Welford:
    """Mean and sum of squares of a stream of values, numbers or arrays alike."""

    def __init__(self, zero: Any) -> None:
        self.count, self.mean, self.squares = 0, zero, zero

    def update(self, x: Any) -> None:
        """Take in a value."""
        self.count += 1
        off = x - self.mean
        self.mean = self.mean + off / self.count
        self.squares = self.squares + off * (x - self.mean)

    def deviation(self, epsilon: float) -> Any:
        """Return the standard deviation; 1 before there are two values."""
        return (self.squares / (self.count - 1) + epsilon) ** 0.5 if self.count > 1 else 1.0


class RunningNorm:
    r"""Components, shifted and scaled by their running mean and deviation.

    .. math:: \mu_n = \mu_{n-1} + \frac{x_n - \mu_{n-1}}{n}, \quad
        p_n = p_{n-1} + (x_n - \mu_{n-1})(x_n - \mu_n), \quad
        \hat x_n = \frac{x_n - \mu_n}{\sqrt{p_n / (n - 1) + \epsilon}}

    The variance is taken as 1 before there are two values. (gymnasium's `NormalizeObservation` starts from a mean of 0
    that counts as a small share of a value, and cannot be saved.)

    Args:
        size: number of components, n.
        epsilon: what keeps the root from zero, in the unit of `x` squared.

    Source: B. P. Welford, "Note on a method for calculating corrected sums of squares and products" (1962),
    https://doi.org/10.1080/00401706.1962.10490022; for streaming agents M. Elsayed, G. Vasan, A. R. Mahmood,
    "Streaming Deep Reinforcement Learning Finally Works" (2024), https://arxiv.org/abs/2410.14606.

    Example:
        >>> import numpy as np, tracetorch as tt
        >>> norm = tt.rl.RunningNorm(1)
        >>> for x in (1.0, 3.0):
        ...     norm.update(np.array([[x]]))
        >>> float(norm(np.array([[3.0]]))[0, 0].round(3))
        0.707
    """

    def __init__(self, size: int, *, epsilon: float = 1e-8) -> None:
        self.epsilon = epsilon
        self._values = _Welford(np.zeros(size))
        self._deviation: Array | float = 1.0

    @property
    def count(self) -> int:
        """Number of values so far."""
        return self._values.count

    @property
    def mean(self) -> Array:
        """Mean of the values so far, `[n]`."""
        mean: Array = self._values.mean
        return mean

    def update(self, rows: Array) -> None:
        """Count the values of `rows`, `[B, n]`, in the statistics."""
        for x in rows:
            self._values.update(x)
        self._deviation = self._values.deviation(self.epsilon)

    def __call__(self, rows: Array) -> Array:
        """Return values `[B, n]` shifted and scaled, by the statistics as they are."""
        result: Array = (rows - self._values.mean) / self._deviation
        return result

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics."""
        mean, squares = (torch.from_numpy(v.copy()) for v in (self._values.mean, self._values.squares))
        return {"count": self.count, "mean": mean, "squares": squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the `state` that `state_dict` returned."""
        self._values.count = state["count"]
        self._values.mean, self._values.squares = (state[key].numpy().copy() for key in ("mean", "squares"))
        self._deviation = self._values.deviation(self.epsilon)


class RewardScale:
    r"""Rewards over the running deviation of the discounted sum of past rewards; the sign and zero stay.

    .. math:: u_t = \gamma\,u_{t-1} + r_t, \qquad \hat r_t = r_t / \sqrt{\operatorname{var}(u) + \epsilon}

    The sum starts again with each episode, the variance does not.

    Args:
        gamma: the discount, per step.
        rows: number of streams, each with a sum of its own.

    Source: as for `RunningNorm`.

    Example:
        >>> import tracetorch as tt
        >>> scale = tt.rl.RewardScale(0.9)
        >>> [round(scale([r], [False])[0], 2) for r in (1.0, 1.0, 1.0)]
        [1.0, 1.57, 1.17]
    """

    def __init__(self, gamma: float, rows: int = 1) -> None:
        self.gamma = gamma
        self.sums = [0.0] * rows
        self.epsilon = 1e-8
        self._values = _Welford(0.0)

    def __call__(self, rewards: Sequence[float], done: Sequence[bool]) -> list[float]:
        """Return the rows' rewards, scaled.

        Args:
            rewards: one for each row.
            done: whether the row's episode ends with it.

        Returns:
            The scaled rewards.
        """
        self.sums = [self.gamma * u + r for u, r in zip(self.sums, rewards, strict=True)]
        for u in self.sums:
            self._values.update(u)
        deviation = self._values.deviation(self.epsilon)
        self.sums = [0.0 if end else u for u, end in zip(self.sums, done, strict=True)]
        return [r / deviation for r in rewards]

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and statistics."""
        return {"sums": list(self.sums), **vars(self._values)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the `state` that `state_dict` returned."""
        self.sums = list(state["sums"])
        for name in ("count", "mean", "squares"):
            setattr(self._values, name, state[name])
