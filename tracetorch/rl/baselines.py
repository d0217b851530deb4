"""What a reward is compared with before it meets a policy's trace."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar


class Baseline(ABC):
    """Turn a reward into the signal that multiplies the trace.

    Attributes:
        learns_value: whether the network's last output is a value, to be learned beside the policy.
    """

    learns_value: ClassVar[bool] = False

    @abstractmethod
    def signals(self, rewards: Sequence[float], values: Sequence[float], nexts: Sequence[float]) -> list[float]:
        """Return the signals of one step, one for each row.

        Args:
            rewards: the rows' rewards.
            values: what their states were worth; zeros where no value is learned.
            nexts: what their next states are worth; zero after a termination.

        Returns:
            The signals.
        """

    def finish(self, steps: int) -> None:  # noqa: B027 - most keep nothing
        """Say that a trial ended.

        Args:
            steps: its length.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what the baseline has become; empty for most."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most keep nothing
        """Take back what `state_dict` gave."""


class NoBaseline(Baseline):
    """Take the reward as it is: REINFORCE.

    Example:
        >>> import tracetorch as tt
        >>> tt.rl.NoBaseline().signals([2.0], [0.0], [0.0])
        [2.0]
    """

    def signals(self, rewards: Sequence[float], values: Sequence[float], nexts: Sequence[float]) -> list[float]:
        """Return the rewards."""
        return list(rewards)


class TDError(Baseline):
    r"""Compare with a learned value, step by step.

    .. math:: \delta_k = r_k + \gamma V(s_{k+1}) - V(s_k)

    With weights fixed and a trace that fades by :math:`\gamma`, the sum :math:`\sum_k \delta_k z_k` telescopes into
    :math:`\sum_t \nabla\log\pi(a_t)\,(G_t - V(s_t))`: REINFORCE with the value as its baseline, unbiased for any
    length of an episode.

    Args:
        gamma: the discount per step.

    Example:
        >>> import tracetorch as tt
        >>> tt.rl.TDError(0.5).signals([1.0], [2.0], [4.0])
        [1.0]
    """

    learns_value = True

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    def signals(self, rewards: Sequence[float], values: Sequence[float], nexts: Sequence[float]) -> list[float]:
        """Return the TD errors."""
        return [r + self.gamma * after - v for r, v, after in zip(rewards, values, nexts, strict=True)]


class VariableLengthWarning(UserWarning):
    """Say that a running reward was used where trials differ in length, which biases the gradient."""


class RunningReward(Baseline):
    r"""Compare with the mean reward per step of the trials before, at one time-scale or the mean of several.

    .. math:: b \leftarrow b + (1 - q)\,(\bar r - b), \qquad \text{signal}_k = r_k - b

    with :math:`\bar r` a trial's mean reward and bias-corrected averages; it changes only when a trial has ended, so
    it never contains a reward that the trial's own actions led to. That makes it unbiased for trials of fixed length
    and for these only: where the length depends on the actions, :math:`\sum_k b` depends on them too. On CartPole,
    where every reward is 1, it takes the whole signal away. So trials of another length raise an error.

    Args:
        steps: the length of every trial.
        half_life: half-life of the average in trials, a number or several.
        strict: raise where a trial has another length; otherwise warn.

    Source: R. J. Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning"
    (1992), https://doi.org/10.1007/BF00992696.

    Example:
        >>> import tracetorch as tt
        >>> baseline = tt.rl.RunningReward(steps=1, half_life=1.0)
        >>> first = baseline.signals([1.0], [0.0], [0.0])
        >>> baseline.finish(1)
        >>> first, baseline.signals([1.0], [0.0], [0.0])
        ([1.0], [0.0])
    """

    def __init__(self, *, steps: int, half_life: float | Sequence[float] = 20.0, strict: bool = True) -> None:
        lives = [half_life] if isinstance(half_life, int | float) else list(half_life)
        if steps < 1 or not lives or min(lives) <= 0:
            raise ValueError(f"steps and half_life must be positive, got {steps} and {half_life}")
        self.steps, self.strict = steps, strict
        self.decays = [0.5 ** (1.0 / life) for life in lives]
        self._means = [0.0] * len(lives)
        self._weights = [0.0] * len(lives)
        self._sum = 0.0
        self._taken = 0

    @property
    def value(self) -> float:
        """The mean reward per step of the trials before; zero before the first has ended."""
        found = [m / w for m, w in zip(self._means, self._weights, strict=True) if w]
        return sum(found) / len(found) if found else 0.0

    def signals(self, rewards: Sequence[float], values: Sequence[float], nexts: Sequence[float]) -> list[float]:
        """Return the rewards less the mean of the trials before."""
        self._taken += 1
        if self._taken > self.steps:
            self._wrong(self._taken)
        self._sum += sum(rewards) / len(rewards)
        return [r - self.value for r in rewards]

    def finish(self, steps: int) -> None:
        """Take the trial's rewards into the averages; see `Baseline.finish`."""
        if steps != self.steps:
            self._wrong(steps)
        mean = self._sum / max(1, steps)
        self._means = [q * m + (1 - q) * mean for q, m in zip(self.decays, self._means, strict=True)]
        self._weights = [q * w + (1 - q) for q, w in zip(self.decays, self._weights, strict=True)]
        self._sum, self._taken = 0.0, 0

    def _wrong(self, steps: int) -> None:
        text = (
            f"a running reward is a fair baseline for trials of one length only; this one has {steps} steps or more, "
            f"{self.steps} were told. Learn a value instead (tt.rl.TDError)"
        )
        if self.strict:
            raise ValueError(text)
        warnings.warn(text, VariableLengthWarning, stacklevel=3)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages."""
        return {"means": list(self._means), "weights": list(self._weights), "sum": self._sum, "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self._means, self._weights = list(state["means"]), list(state["weights"])
        self._sum, self._taken = state["sum"], state["taken"]
