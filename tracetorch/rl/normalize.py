"""Running statistics that bring observations and rewards to unit scale, as a stream allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

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
        rows: number of streams, each with its own sum.

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


class ErrorScale:
    r"""A scale for TD errors, from the spread of rewards and of what episodes gave.

    .. math:: \sigma^2 = \operatorname{var}(r) + \operatorname{var}(\gamma_t)\, \overline{G^2}

    with :math:`\gamma_t` the discount, 0 where the task ends, and :math:`G` the sum of an episode's rewards. The
    variance is at least 1e-4, and sigma is 1 as long as the variance is at most 0.01 and no episode has ended.

    Args:
        gamma: the discount, per step.
        rows: number of streams, each with its own sum.

    Source: T. Schaul, G. Ostrovski, I. Kemaev, D. Borsa, "Return-based Scaling: Yet Another Normalisation Trick for
    Deep RL" (2021), https://arxiv.org/abs/2105.05347.

    Example:
        >>> import tracetorch as tt
        >>> scale = tt.rl.ErrorScale(0.9)
        >>> for reward in (1.0, 3.0):
        ...     scale.update([reward], [False], [False])
        >>> scale.sigma
        1.0
    """

    def __init__(self, gamma: float, rows: int = 1) -> None:
        self.gamma = gamma
        self.sums = [0.0] * rows
        self._statistics = {"rewards": _Welford(0.0), "gammas": _Welford(0.0), "squares": _Welford(0.0)}

    def update(self, rewards: Sequence[float], terminated: Sequence[bool], done: Sequence[bool]) -> None:
        """Count a step of all rows.

        Args:
            rewards: one for each row.
            terminated: whether the row's task ended.
            done: whether the row's episode ended, so or by truncation.
        """
        for row, (reward, end, over) in enumerate(zip(rewards, terminated, done, strict=True)):
            self.sums[row] += reward
            self._statistics["rewards"].update(reward)
            self._statistics["gammas"].update(0.0 if end else self.gamma)
            if over:
                self._statistics["squares"].update(self.sums[row] ** 2)
                self.sums[row] = 0.0

    @property
    def sigma(self) -> float:
        """The scale, in the unit of rewards."""
        rewards, gammas = (s.squares / max(1, s.count) for s in list(self._statistics.values())[:2])
        ended = self._statistics["squares"]
        variance = float(max(rewards + gammas * ended.mean, 1e-4))
        return 1.0 if variance <= 0.01 and not ended.count else math.sqrt(variance)

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and statistics."""
        return {"sums": list(self.sums)} | {name: dict(vars(s)) for name, s in self._statistics.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the `state` that `state_dict` returned."""
        self.sums = list(state["sums"])
        for name, statistics in self._statistics.items():
            vars(statistics).update(state[name])


class UnitNorm(nn.Module):
    """Divide each row by its length, so that what stands under a last layer has the same size in every state.

    Source: M. Bjorck, C. P. Gomes, K. Q. Weinberger, "Is High Variance Unavoidable in RL? A Case Study in Continuous
    Control" (2022), https://openreview.net/forum?id=9xhgmsNVHu; for one step at a time see `AVG`.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.rl.UnitNorm()(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return rows of length 1.

        Args:
            x: the rows, `[B, n]`.

        Returns:
            The same divided by their lengths, `[B, n]`.
        """
        return nn.functional.normalize(x, dim=-1)
