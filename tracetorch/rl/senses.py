"""What stands between an environment and a network: statistics, encoding, and checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracetorch.rl.normalize import RewardScale, RunningNorm


class Senses:
    """Turn observations into a network's input, and scale rewards.

    Each observation counts once in the statistics, though it is seen twice: when the step before learns from it, and
    when the agent acts on it.

    Args:
        rows: number of streams, R.
        norm: running normalisation of observations, or None.
        rewards: scaling of rewards, or None.
        encoder: from observations `[R, n]` to the network's input `[R, *in]`, such as
            `tt.encoding.PopulationCode`; None gives them as currents.
        dtype: the network's.

    Example:
        >>> import numpy as np, tracetorch as tt
        >>> tt.rl.Senses().observe(np.array([[0.5, -1.0]]))
        tensor([[ 0.5000, -1.0000]])
    """

    def __init__(
        self,
        *,
        rows: int = 1,
        norm: RunningNorm | None = None,
        rewards: RewardScale | None = None,
        encoder: Callable[[Tensor], Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.rows, self.norm, self.rewards, self.encoder, self.dtype = rows, norm, rewards, encoder, dtype
        self._seen: npt.NDArray[np.float64] | None = None
        self._encoded: Tensor | None = None

    def observe(self, observation: npt.ArrayLike, *, learn: bool = True) -> Tensor:
        """Return the network's input for observations.

        Args:
            observation: one for each row, `[R, ...]`.
            learn: whether they count in the statistics.

        Returns:
            The input, `[R, *in]`.

        Raises:
            FloatingPointError: if an observation is not finite; nothing has changed then.
        """
        values = np.asarray(observation, dtype=np.float64).reshape(len(np.asarray(observation)), -1)
        if learn and self._seen is not None and self._encoded is not None and np.array_equal(values, self._seen):
            return self._encoded
        if not math.isfinite(values.sum()):
            raise FloatingPointError(
                f"the environment gave an observation that is not finite: {values.tolist()}; the agent is as it was "
                f"before this step"
            )
        if learn and self.norm is not None:
            old = self._seen
            fresh = values if old is None else values[(values != old).any(1)]
            self.norm.update(fresh)
        scaled = values if self.norm is None else self.norm(values)
        x = torch.from_numpy(scaled).to(self.dtype)
        if self.encoder is not None:
            x = self.encoder(x)
        if learn:
            self._seen, self._encoded = values, x
        return x

    @staticmethod
    def check(rewards: Sequence[float]) -> None:
        """Raise FloatingPointError where a reward is not finite."""
        if not all(math.isfinite(r) for r in rewards):
            raise FloatingPointError(
                f"the environment gave a reward that is not finite: {list(rewards)}; the agent is as it was before "
                f"this step"
            )

    def reward(self, rewards: Sequence[float], done: Sequence[bool]) -> list[float]:
        """Return rewards as the agent learns from them.

        Args:
            rewards: one for each row.
            done: whether the row's episode ends with it.

        Returns:
            The rewards, scaled.
        """
        return list(rewards) if self.rewards is None else self.rewards(rewards, done)

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics, and the last observation as it was encoded."""
        return {
            "norm": None if self.norm is None else self.norm.state_dict(),
            "rewards": None if self.rewards is None else self.rewards.state_dict(),
            "seen": None if self._seen is None else torch.from_numpy(self._seen.copy()),
            "encoded": self._encoded,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        if self.norm is not None:
            self.norm.load_state_dict(state["norm"])
        if self.rewards is not None:
            self.rewards.load_state_dict(state["rewards"])
        self._seen = None if state["seen"] is None else state["seen"].numpy().copy()
        self._encoded = state["encoded"]
