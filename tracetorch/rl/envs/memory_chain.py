"""A cue, a wait with distractors, and a question."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Observation = npt.NDArray[np.float32]


class MemoryChain:
    r"""A cue, shown once, then distractors; the cue is asked for at the end.

    An episode has `length + 1` observations, each `[cue, question, distractors]`: the cue is -1 or 1 at step 0 and 0
    later, the question is 1 at step `length` and 0 before, a distractor is drawn from -1 and 1 at every step. Actions
    before the question do nothing; the last gives 1 if it names the cue (0 for -1, 1 for 1) and -1 otherwise, so
    chance is 0.

    Args:
        length: number of steps between the cue and the question.
        distractors: number of distractors.

    Source: I. Osband et al., "Behaviour Suite for Reinforcement Learning" (2020), https://arxiv.org/abs/1908.03568,
    whose memory-length experiment this follows; distractors are added.

    Example:
        >>> chain = MemoryChain(length=2)
        >>> observation, _ = chain.reset(seed=0)
        >>> cue = int(observation[0] > 0)
        >>> [chain.step(cue)[1:3] for _ in range(3)]
        [(0.0, False), (0.0, False), (1.0, True)]
    """

    actions = 2

    def __init__(self, length: int, *, distractors: int = 2) -> None:
        if length < 1 or distractors < 0:
            raise ValueError(f"length is positive and distractors not negative, got {length} and {distractors}")
        self.length, self.distractors = length, distractors
        self.size = 2 + distractors
        self._random = np.random.default_rng(0)
        self._cue = self._step = 0

    def reset(self, *, seed: int | None = None) -> tuple[Observation, dict[str, Any]]:
        """Return the first observation of an episode, drawn with `seed`; see `Environment.reset`."""
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._cue = int(self._random.integers(2))
        self._step = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Return what an `action`, 0 or 1, led to; see `Environment.step`."""
        if self._step >= self.length:
            return self._observe(), 1.0 if int(action) == self._cue else -1.0, True, False, {}
        self._step += 1
        return self._observe(), 0.0, False, False, {}

    def _observe(self) -> Observation:
        observation = np.zeros(self.size, dtype=np.float32)
        if self._step == 0:
            observation[0] = 2 * self._cue - 1
        observation[1] = self._step == self.length
        observation[2:] = 2 * self._random.integers(2, size=self.distractors) - 1
        return observation
