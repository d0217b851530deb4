"""Several environments in step with one agent, each with episodes of its own length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracetorch.rl.agent import Agent
from tracetorch.rl.envs import Episodes


@dataclass(frozen=True)
class Ended:
    """An episode that ended.

    Attributes:
        row: in which environment.
        total: sum of its rewards.
        steps: number of its steps.

    Example:
        >>> import tracetorch as tt
        >>> ended = tt.rl.Ended(row=0, total=3.0, steps=12)
        >>> ended.total / ended.steps
        0.25
    """

    row: int
    total: float
    steps: int


class Rows:
    """Environments that step together; an agent with so many rows acts in and learns from all of them.

    Where an episode ends, the agent forgets that row alone (`tt.reset(net, mask)` and the row's trace), and the row
    goes on with its next episode.

    Args:
        agent: the agent; `senses.rows` says for how many environments.
        envs: the environments' episodes, one for each row.

    Attributes:
        totals: the rewards of the episodes that go on, summed.

    Raises:
        ValueError: if their number is not the agent's.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.rl.envs import Episodes, MemoryChain
        >>> net = tt.Layer(torch.nn.Linear(4, 3), tt.LI(half_life=2))
        >>> agent = tt.rl.ActorCritic(net, tt.rl.Categorical(2), senses=tt.rl.Senses(rows=2))
        >>> rows = tt.rl.Rows(agent, [Episodes(MemoryChain(length=k), seed=k) for k in (1, 2)])
        >>> [ended.row for _ in range(3) for ended in rows.step()]
        [0, 1]
    """

    def __init__(self, agent: Agent, envs: Sequence[Episodes]) -> None:
        if len(envs) != agent.senses.rows:
            raise ValueError(f"the agent has {agent.senses.rows} rows, got {len(envs)} environments")
        self.agent, self.envs = agent, list(envs)
        self.totals = [0.0] * len(envs)
        self._lengths = [0] * len(envs)

    def step(self) -> Iterator[Ended]:
        """Act and learn once in every row.

        Returns:
            The episodes that ended with this step.
        """
        actions = self.agent.act_rows(np.stack([env.observation for env in self.envs]))
        rewards, nexts, terminated, truncated = zip(
            *(env.step(action) for env, action in zip(self.envs, actions, strict=True)), strict=True
        )
        self.agent.learn_rows(rewards, np.stack(nexts), terminated, truncated)
        ended = []
        for row, reward in enumerate(rewards):
            self.totals[row] += reward
            self._lengths[row] += 1
            if terminated[row] or truncated[row]:
                ended.append(Ended(row, self.totals[row], self._lengths[row]))
                self.totals[row], self._lengths[row] = 0.0, 0
        return iter(ended)

    def state_dict(self) -> dict[str, Any]:
        """Return agent and environments, with which a run goes on bit for bit.

        Returns:
            A nested dictionary of tensors and plain values.
        """
        return {
            "agent": self.agent.state_dict(),
            "envs": [env.state_dict() for env in self.envs],
            "totals": list(self.totals),
            "lengths": list(self._lengths),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: the dictionary, of the same agent and environments.
        """
        self.agent.load_state_dict(state["agent"])
        for env, saved in zip(self.envs, state["envs"], strict=True):
            env.load_state_dict(saved)
        self.totals, self._lengths = list(state["totals"]), list(state["lengths"])
