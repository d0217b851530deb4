"""One episode after the other in an environment, resumable in the middle of one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tracetorch.ops.require import require

Array = npt.NDArray[Any]


class Environment(Protocol):
    """What an environment must offer: the part of gymnasium's interface that is used here.

    Example:
        >>> from tracetorch.rl.envs import Episodes
        >>> class Guess:
        ...     def reset(self, *, seed=None):
        ...         return [0.0], {}
        ...     def step(self, action):
        ...         return [0.0], float(action == 1), True, False, {}
        >>> Episodes(Guess()).step(1)[0]
        1.0
    """

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: of the episode; None for any.

        Returns:
            The first observation, and more by name.
        """

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take an action.

        Args:
            action: as the environment takes it.

        Returns:
            Observation, reward, whether it terminated, whether it was truncated, and more by name.
        """


class EnvironmentDied(RuntimeError):
    """An environment raised its own error, which is the cause.

    Example:
        >>> from tracetorch.rl.envs import EnvironmentDied, Episodes, TMaze
        >>> episodes = Episodes(TMaze(length=3))
        >>> try:
        ...     episodes.step("left")
        ... except EnvironmentDied as error:
        ...     print(type(error.__cause__).__name__)
        ValueError
    """


class _Alive:
    """Turn whatever an environment raises into `EnvironmentDied`; what the user asks for goes through."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
            raise EnvironmentDied(
                f"the environment died while it {self._what}: {type(error).__name__}: {error}"
            ) from error


class Episodes:
    """Episodes of an environment, one after the other, each from its own seed.

    Because an episode follows from its seed and actions, these are all that has to be saved of it: a restored run plays
    them again. They are forgotten when the episode ends, so memory is bounded by its length.

    Args:
        env: the environment.
        seed: of the seeds.
        keep: components of the observation that are shown; None for all.

    Attributes:
        observation: what the environment shows now.
        episode: number of the episode that is going on, from 0.

    Example:
        >>> from tracetorch.rl.envs import MemoryChain
        >>> episodes = Episodes(MemoryChain(length=1), seed=3)
        >>> episodes.step(0)[0], episodes.episode
        (0.0, 0)
        >>> _ = episodes.step(0)
        >>> episodes.episode
        1
    """

    def __init__(self, env: Environment, *, seed: int = 0, keep: Sequence[int] | None = None) -> None:
        self.env, self.seed = env, seed
        self._keep = None if keep is None else np.array(keep)
        self.episode = 0
        self._actions: list[Any] = []
        self.observation = self._begin()

    def _begin(self) -> Array:
        digest = hashlib.sha256(f"{self.seed}/{self.episode}".encode()).digest()
        with _Alive(f"was reset for episode {self.episode}"):
            observation, _ = self.env.reset(seed=int.from_bytes(digest[:4], "little") >> 1)
        self._actions = []
        return self._shown(observation)

    def _shown(self, observation: Any) -> Array:
        values = np.asarray(observation)
        return values if self._keep is None else values[self._keep]

    def step(self, action: Any) -> tuple[float, Array, bool, bool]:
        """Take an action; where the episode ends, `observation` is already the next one's first.

        Args:
            action: as the environment takes it.

        Returns:
            The reward, the observation that the action led to, whether the episode terminated and was truncated.

        Raises:
            EnvironmentDied: if the environment raised an error.
        """
        with _Alive(f"took step {len(self._actions)} of episode {self.episode}"):
            observation, reward, terminated, truncated, _ = self.env.step(action)
        self._actions.append(action.tolist() if isinstance(action, np.ndarray) else action)
        after = self._shown(observation)
        if terminated or truncated:
            self.episode += 1
            self.observation = self._begin()
        else:
            self.observation = after
        return float(reward), after, bool(terminated), bool(truncated)

    def state_dict(self) -> dict[str, Any]:
        """Return the episode's number and its actions so far.

        Returns:
            `episode` and `actions`.
        """
        return {"episode": self.episode, "actions": list(self._actions)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Repeat the episode of a `state_dict` up to its last action.

        Args:
            state: the dictionary.
        """
        self.episode = state["episode"]
        self.observation = self._begin()
        for action in state["actions"]:
            self.step(np.array(action, dtype=np.float32) if isinstance(action, list) else action)


def gym(name: str, **options: Any) -> Environment:
    """Make an environment of gymnasium by name; observations that are no arrays are flattened to one-hot codes.

    Args:
        name: its name, such as `CartPole-v1`, or `popgym:popgym-RepeatFirstEasy-v0` with the package that has it.
        **options: what `gymnasium.make` takes besides.

    Returns:
        The environment.

    Raises:
        ImportError: if gymnasium is not installed; the message names the extra.

    Example:
        >>> from tracetorch.rl.envs import Episodes, gym
        >>> Episodes(gym("CartPole-v1"), seed=0).observation.shape
        (4,)
    """
    gymnasium = require("gymnasium", "'gymnasium[classic-control]'")
    env = gymnasium.make(name, **options)
    if not isinstance(env.observation_space, gymnasium.spaces.Box):
        env = gymnasium.wrappers.FlattenObservation(env)
    made: Environment = env
    return made
