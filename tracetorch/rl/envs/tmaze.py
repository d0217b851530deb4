"""A corridor with a sign at its start, and a junction at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Observation = npt.NDArray[np.float32]

FORWARD, LEFT, RIGHT = 0, 1, 2


class TMaze:
    r"""A corridor with a junction, at which to turn to the side that a sign at the start showed.

    Observations are `[sign, corridor, junction]`: the sign is -1 (left) or 1 (right) at the start and 0 elsewhere, the
    other two show the place. Action 0 goes forward, 1 turns left, 2 turns right. Bumping into a wall, which is
    turning in the corridor or going on at the junction, costs 0.1 and leads nowhere; turning at the junction ends the
    episode with 1 on the sign's side and 0 on the other, so that going straight and guessing gives 0.5. The episode
    is truncated after `3 * length + 10` steps.

    Args:
        length: number of steps from the start to the junction.

    Source: B. Bakker, "Reinforcement Learning with Long Short-Term Memory" (2002),
    https://papers.nips.cc/paper/2001/hash/a38b16173474ba8b1a95bcbc30d3b8a5-Abstract.html.

    Example:
        >>> maze = TMaze(length=1)
        >>> observation, _ = maze.reset(seed=0)
        >>> side = LEFT if observation[0] < 0 else RIGHT
        >>> maze.step(FORWARD)[1], maze.step(side)[1:3]
        (0.0, (1.0, True))
    """

    actions = 3
    size = 3

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        self.length = length
        self._random = np.random.default_rng(0)
        self._sign = self._place = self._step = 0

    def reset(self, *, seed: int | None = None) -> tuple[Observation, dict[str, Any]]:
        """Return the first observation of an episode, drawn with `seed`; see `Environment.reset`."""
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._sign = 2 * int(self._random.integers(2)) - 1
        self._place = self._step = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Return what an `action`, 0 to 2, led to; see `Environment.step`."""
        action = int(action)
        self._step += 1
        junction = self._place == self.length
        if junction and action != FORWARD:
            right = action == (LEFT if self._sign < 0 else RIGHT)
            return self._observe(), float(right), True, False, {}
        reward = 0.0
        if action == FORWARD and not junction:
            self._place += 1
        else:
            reward = -0.1
        return self._observe(), reward, False, self._step >= 3 * self.length + 10, {}

    def _observe(self) -> Observation:
        junction = self._place == self.length
        return np.array([self._sign if self._place == 0 else 0, not junction, junction], dtype=np.float32)
