"""What is between an environment and a network: statistics, encoding, and checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracetorch.rl.normalize import RewardScale, RunningNorm

Array = npt.NDArray[np.float64]


class Senses:
    """What turns observations into a network's input, and scales rewards.

    An agent sees each observation twice: as what its last action led to, when it learns (`follow`), and as what its
    next action answers (`observe`). It counts once in the statistics and is encoded once, so that the network steps on
    the very input that it looked ahead at; the next observation is encoded and counted again, even where it is equal.

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
        self._followed: tuple[Array, Tensor] | None = None  # NaN where a row's episode ended: equal to nothing

    def observe(self, observation: npt.ArrayLike, *, learn: bool = True) -> Tensor:
        """Return the network's input for the observations that it acts on.

        Args:
            observation: one for each row, `[R, ...]`.
            learn: whether they count in the statistics, where they did not with `follow`.

        Returns:
            The input, `[R, *in]`.

        Raises:
            FloatingPointError: if an observation is not finite; nothing has changed then.
        """
        values = self._checked(observation)
        if not learn:
            return self._encoded(values)
        if self._followed is None:
            return self._encoded(values, values)
        before, encoded = self._followed
        fresh = (values != before).any(1)
        self._followed = None
        if not fresh.any():
            return encoded
        x = self._encoded(values, values[fresh])
        again = torch.from_numpy(~fresh).to(x.device)
        return torch.where(again.reshape(-1, *[1] * (x.dim() - 1)), encoded, x)

    def follow(self, observation: npt.ArrayLike, done: Sequence[bool]) -> Tensor:
        """Return the network's input for the observations that its actions led to.

        Args:
            observation: one for each row, `[R, ...]`.
            done: whether the row's episode ended, so that it acts on another observation next.

        Returns:
            The input, `[R, *in]`.

        Raises:
            FloatingPointError: if an observation is not finite; nothing has changed then.
        """
        values = self._checked(observation)
        x = self._encoded(values, values)
        self._followed = np.where(np.asarray(done)[:, None], np.nan, values), x
        return x

    @staticmethod
    def _checked(observation: npt.ArrayLike) -> Array:
        values = np.asarray(observation, dtype=np.float64)
        if not math.isfinite(values.sum()):
            raise FloatingPointError(
                f"the environment gave an observation that is not finite: {values.tolist()}; the agent is as it was "
                f"before this step"
            )
        return values.reshape(len(values), -1)

    def _encoded(self, values: Array, counted: Array | None = None) -> Tensor:
        if self.norm is not None:
            if counted is not None:
                self.norm.update(counted)
            values = self.norm(values)
        x = torch.from_numpy(values).to(self.dtype)
        return x if self.encoder is None else self.encoder(x)

    @staticmethod
    def check(rewards: Sequence[float]) -> None:
        """Raise FloatingPointError where one of the `rewards` is not finite."""
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
        values, encoded = (None, None) if self._followed is None else self._followed
        return {
            "norm": None if self.norm is None else self.norm.state_dict(),
            "rewards": None if self.rewards is None else self.rewards.state_dict(),
            "followed": None if values is None else torch.from_numpy(values.copy()),
            "encoded": encoded,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the `state` that `state_dict` returned."""
        if self.norm is not None:
            self.norm.load_state_dict(state["norm"])
        if self.rewards is not None:
            self.rewards.load_state_dict(state["rewards"])
        followed, encoded = state["followed"], state["encoded"]
        if followed is None and encoded is None:
            self._followed = None
            return
        if not (isinstance(followed, Tensor) and isinstance(encoded, Tensor) and len(followed) == len(encoded)):
            raise ValueError("followed and encoded are the last observations before and after encoding, by rows")
        self._followed = followed.numpy().copy(), encoded
