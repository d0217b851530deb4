"""The games of MinAtar, through the package's own interface."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tracetorch.ops.require import require

Observation = npt.NDArray[np.float32]


class MinAtar:
    """A game of MinAtar: Atari's rules on a grid of 10 by 10 cells, one plane for each kind of object.

    Observations are the planes, one after the other, flat: `nn.Unflatten(1, env.shape)` restores them. Actions are the
    game's own, without those that do nothing. As the package has it, an action is repeated with probability 0.1
    instead of the next. Its own interface to gymnasium remembers the last action of the episode before; here an episode
    follows from its seed and actions alone, so that `Episodes` can play it again.

    Args:
        game: one of `asterix`, `breakout`, `freeway`, `seaquest` and `space_invaders`.

    Attributes:
        shape: planes, rows and columns.
        actions: number of actions.
        size: number of components of an observation.

    Raises:
        ImportError: if the package is not installed; the message names the extra.

    Source: K. Young, T. Tian, "MinAtar: An Atari-Inspired Testbed for Thorough and Reproducible Reinforcement Learning
    Experiments" (2019), https://arxiv.org/abs/1903.03176.

    Example:
        >>> from tracetorch.rl.envs import Episodes, MinAtar
        >>> env = MinAtar("breakout")  # doctest: +SKIP
        >>> Episodes(env, seed=0).observation.shape, env.shape, env.actions  # doctest: +SKIP
        ((400,), (4, 10, 10), 3)
    """

    def __init__(self, game: str) -> None:
        self._game = require("minatar").Environment(game)
        rows, columns, planes = self._game.state_shape()
        self.shape = planes, rows, columns
        self.size = planes * rows * columns
        self._actions = self._game.minimal_action_set()
        self.actions = len(self._actions)

    def reset(self, *, seed: int | None = None) -> tuple[Observation, dict[str, Any]]:
        """Return the first observation of an episode, drawn with `seed`; see `Environment.reset`."""
        self._game.seed(seed)
        self._game.last_action = 0
        self._game.reset()
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Return what an `action`, a whole number, led to; see `Environment.step`."""
        reward, terminated = self._game.act(self._actions[int(action)])
        return self._observe(), float(reward), bool(terminated), False, {}

    def _observe(self) -> Observation:
        planes: Observation = np.moveaxis(self._game.state(), -1, 0).astype(np.float32).reshape(-1)
        return planes
