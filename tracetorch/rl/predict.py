"""An agent in the shape of a Stable-Baselines3 model, for its evaluation and other tools that call `predict`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracetorch.network import get_state, reset, set_state
from tracetorch.rl.agent import Agent
from tracetorch.rl.look_ahead import twin


class Predictor:
    """Greedy actions of an agent, as `predict` of Stable-Baselines3 gives them; the agent is left as it is.

    A twin shares the agent's weights of now, and its state goes in and out. Nothing is learned or counted.

    Args:
        agent: the agent.

    Example:
        >>> import numpy as np, torch, tracetorch as tt
        >>> net = tt.Layer(torch.nn.Linear(4, 3), tt.LI(half_life=2))
        >>> model = tt.rl.Predictor(tt.rl.ActorCritic(net, tt.rl.Categorical(2)))
        >>> actions, state = model.predict(np.ones((5, 4)))
        >>> actions, state = model.predict(np.ones((5, 4)), state, np.zeros(5, dtype=bool))
        >>> actions.shape
        (5,)
    """

    def __init__(self, agent: Agent) -> None:
        self._agent, self._net = agent, twin(agent.net).eval()

    @torch.no_grad()
    def predict(
        self,
        observation: npt.ArrayLike,
        state: Mapping[str, Tensor] | None = None,
        episode_start: npt.ArrayLike | None = None,
        deterministic: bool = True,
    ) -> tuple[npt.NDArray[Any], dict[str, Tensor]]:
        """Return actions, and the state to call with next.

        Args:
            observation: one for each environment, `[R, ...]`.
            state: what the last call returned; None begins in all rows.
            episode_start: which rows begin an episode, `[R]`.
            deterministic: must be true: the greedy action.

        Returns:
            The actions as the environments take them, `[R, ...]`, and the state.

        Raises:
            ValueError: if an action is to be drawn.
        """
        if not deterministic:
            raise ValueError(
                "a predictor gives greedy actions: call it with deterministic=True, or agent.act to explore"
            )
        reset(self._net)
        if state is not None:
            set_state(self._net, state)
            if episode_start is not None and np.any(episode_start):
                reset(self._net, torch.as_tensor(np.asarray(episode_start, dtype=bool)))
        head = self._net(self._agent.senses.observe(observation, learn=False))
        return np.stack(self._agent.to_env(self._agent.greedy(head))), get_state(self._net)
