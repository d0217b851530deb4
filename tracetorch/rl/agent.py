"""An agent on one stream of experience, or on several in step: act, then learn, and keep nothing but traces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tracetorch.rl.body import AutogradBody, Body, Memoryless
from tracetorch.rl.compiled import CompiledBody
from tracetorch.rl.senses import Senses
from tracetorch.rl.step import ObGD, Step
from tracetorch.rl.trace import ParameterTrace


class Agent(ABC):
    r"""An agent that learns from each step once, by a TD error and an eligibility trace over all parameters.

    .. math:: z_t = \gamma\lambda\,z_{t-1} + \nabla_\theta\,c_t^\top y_t, \qquad \theta \leftarrow \theta + \eta\,
        \delta_t\,z_t

    What :math:`c_t` and :math:`\delta_t` are, a subclass defines. Both values in :math:`\delta_t` are taken under the
    weights before its update, the network's state advances once a step (`LookAhead`). Traces and state are cleared
    where an episode terminates or is truncated; the next value counts at a truncation and not at a termination.

    Args:
        net: the network, on the device where it stays, with its rule set.
        gamma: the discount per step.
        lam: the trace's decay, lambda.
        step: how to move along the trace; `ObGD()` by default.
        senses: what is between environment and network; the number of streams is its `rows`.

    Attributes:
        steps: number of steps learned from.
        errors: the rows' last TD errors.
        body: how the network is run; see `compile`.

    Example:
        >>> import torch, tracetorch as tt
        >>> agent = tt.rl.ActorCritic(tt.Layer(torch.nn.Linear(4, 3), tt.LI(half_life=2)), tt.rl.Categorical(2))
        >>> for _ in range(10):
        ...     action = agent.act([0.0, 0.0, 0.0, 1.0])
        ...     agent.learn(float(action == 1), [0.0, 0.0, 0.0, 1.0], terminated=False, truncated=False)
        >>> agent.steps
        10
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        gamma: float = 0.99,
        lam: float = 0.8,
        step: Step | None = None,
        senses: Senses | None = None,
    ) -> None:
        if not 0.0 <= gamma <= 1.0 or not 0.0 <= lam <= 1.0:
            raise ValueError(f"gamma and lam must lie in [0, 1], got {gamma} and {lam}")
        self.net, self.gamma, self.lam = net, gamma, lam
        self.step = ObGD() if step is None else step
        self.senses = Senses(dtype=next(net.parameters()).dtype) if senses is None else senses
        rows = self.senses.rows
        self.trace = ParameterTrace(net, rows)
        self.generator = torch.Generator()
        self.seed(0)
        self.steps = 0
        self.errors: list[float] = [0.0] * rows
        self.body: Body = AutogradBody(net)
        self._head: Tensor | None = None
        self._action: Tensor | None = None

    @abstractmethod
    def choose(self, head: Tensor) -> Tensor:
        """Draw the rows' actions.

        Args:
            head: the network's output, `[R, n]`, without a graph.

        Returns:
            The actions, `[R]` or `[R, components]`.
        """

    @abstractmethod
    def greedy(self, head: Tensor) -> Tensor:
        """Return the rows' actions without exploration.

        Args:
            head: the network's output, `[R, n]`, without a graph.

        Returns:
            The actions, `[R]` or `[R, components]`.
        """

    @abstractmethod
    def values(self, head: Tensor, action: Tensor) -> list[float]:
        """Return what the rows' states, or actions, are worth.

        Args:
            head: the network's output, `[R, n]`, without a graph.
            action: the rows' actions, `[R]` or `[R, components]`.

        Returns:
            The values, one for each row.
        """

    @abstractmethod
    def targets(self, head: Tensor) -> list[float]:
        """Return what the rows' next states are worth.

        Args:
            head: the network's next output, `[R, n]`, without a graph.

        Returns:
            The values, one for each row.
        """

    @abstractmethod
    def cotangent(self, head: Tensor, action: Tensor, errors: list[float]) -> Tensor:
        """Return what the trace takes up, as a cotangent of the output.

        Args:
            head: the network's output, `[R, n]`, without a graph.
            action: the rows' actions, `[R]` or `[R, components]`.
            errors: the rows' last TD errors.

        Returns:
            The cotangent, `[R, n]`.
        """

    @abstractmethod
    def to_env(self, action: Tensor) -> list[Any]:
        """Return the rows' actions as the environment takes them.

        Args:
            action: the actions, `[R]` or `[R, components]`.

        Returns:
            The actions, one for each row.
        """

    def act(self, observation: npt.ArrayLike) -> Any:
        """Advance the network by an observation and return the action.

        Args:
            observation: of one environment.

        Returns:
            The action as the environment takes it.
        """
        return self.act_rows(np.asarray(observation)[None])[0]

    def learn(self, reward: float, observation: npt.ArrayLike, *, terminated: bool, truncated: bool) -> None:
        """Learn from what an action led to.

        Args:
            reward: the reward.
            observation: the next observation, also where the episode ends with it.
            terminated: whether the task ended: nothing is worth anything after it.
            truncated: whether the episode was cut off, for example by a time limit.

        Raises:
            FloatingPointError: if reward or observation are not finite; the agent is as it was before.
            RuntimeError: if no action came before.
        """
        self.learn_rows([float(reward)], np.asarray(observation)[None], [bool(terminated)], [bool(truncated)])

    def act_rows(self, observations: npt.ArrayLike) -> list[Any]:
        """Advance the network by the observations of all rows.

        Args:
            observations: of all environments, `[R, ...]`.

        Returns:
            The rows' actions as the environments take them.
        """
        x = self.senses.observe(observations)
        self._head = self.body.forward(x)
        self._action = self.choose(self._head)
        return self.to_env(self._action)

    def learn_rows(
        self,
        rewards: Sequence[float],
        observations: npt.ArrayLike,
        terminated: Sequence[bool],
        truncated: Sequence[bool],
    ) -> None:
        """Learn from what the rows' actions led to; see `learn`.

        Args:
            rewards: one for each row.
            observations: the next observations, `[R, ...]`.
            terminated: whether each row's task ended.
            truncated: whether each row's episode was cut off.
        """
        _ = self.last
        done = [a or b for a, b in zip(terminated, truncated, strict=True)]
        self.senses.check(rewards)
        x = self.senses.follow(observations, done)
        rewards = self.senses.reward(rewards, done)
        self.improve(x, rewards, terminated, done)
        self._head = self._action = None
        self.steps += 1
        if any(done):
            self.forget(None if len(done) == 1 else torch.tensor(done))

    def improve(self, x: Tensor, rewards: Sequence[float], terminated: Sequence[bool], done: Sequence[bool]) -> None:
        """Compute the errors of the last actions, and move the parameters.

        Args:
            x: the network's next input, `[R, *in]`.
            rewards: one for each row, as `senses` scales them.
            terminated: whether each row's task ended.
            done: whether each row's episode ended, so or by truncation.
        """
        head, action = self.last
        ahead = None if all(terminated) else self.body.ahead(x)
        nexts = [0.0] * len(done) if ahead is None else self.targets(ahead)
        self.errors = [
            r + (0.0 if end else self.gamma * after) - before
            for r, end, after, before in zip(rewards, terminated, nexts, self.values(head, action), strict=True)
        ]
        self.move(ahead, terminated)

    def move(self, ahead: Tensor | None, terminated: Sequence[bool]) -> None:
        """Take the last step up in the trace, and move the parameters along it by `errors`.

        Args:
            ahead: the network's next output, `[R, n]`, without a graph; None where all rows terminated.
            terminated: whether each row's task ended.
        """
        self.trace.decay(self.gamma * self.lam)
        self.body.credit(self.trace, self.cotangent(*self.last, self.errors))
        self.step(self.trace, self.errors)

    @property
    def last(self) -> tuple[Tensor, Tensor]:
        """The last output, `[R, n]`, without a graph, and the actions drawn from it.

        Raises:
            RuntimeError: if no action waits for its outcome.
        """
        if self._head is None or self._action is None:
            raise RuntimeError("learn came before act: an agent learns from an action's outcome, once")
        return self._head, self._action

    def cut(self, mask: Tensor | None = None) -> None:
        """Clear the traces and leave the states.

        Args:
            mask: `[R]`, true for the rows; None for all.
        """
        self.trace.clear(mask)

    def forget(self, mask: Tensor | None = None) -> None:
        """Begin new episodes: clear traces and states.

        Args:
            mask: `[R]`, true for the rows that start a new sequence; None for all.
        """
        self.cut(mask)
        self.body.forget(mask)

    def compile(self) -> None:
        """Run the network without autograd from now on, where it fits; see `CompiledBody`.

        Equal to rounding. A first call of compiled kernels takes some seconds, once per kind of network and machine.

        Raises:
            ValueError: if network, rule or number of rows do not fit; the message says why.
            RuntimeError: if the compiled kernels cannot run here.
        """
        state = self.body.state()
        self.body = CompiledBody(self.net, self.trace)
        self.body.load(state)

    def without_memory(self) -> None:
        """Reset the network before each step from now on: a control that shows what its memory is worth."""
        self.body = Memoryless(self.body)

    def seed(self, seed: int) -> None:
        """Seed the draws of actions.

        Args:
            seed: any whole number.
        """
        self.generator.manual_seed(seed)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the agent has become, between a `learn` and the next `act`.

        Returns:
            A nested dictionary of tensors and plain values, with which another agent of the same making goes on bit
            for bit, also in mid-episode.

        Raises:
            RuntimeError: if an action waits for its outcome.
        """
        if self._head is not None:
            raise RuntimeError("an action waits for its outcome: save the agent after learn, before the next act")
        return {
            "weights": dict(self.net.state_dict()),
            "stream": self.body.state(),
            "trace": self.trace.state_dict(),
            "step": self.step.state_dict(),
            "senses": self.senses.state_dict(),
            "generator": self.generator.get_state(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: the dictionary, of an agent of the same making.
        """
        self.net.load_state_dict(state["weights"])
        self.body.load(state["stream"])
        self.trace.load_state_dict(state["trace"])
        self.step.load_state_dict(state["step"])
        self.senses.load_state_dict(state["senses"])
        self.generator.set_state(state["generator"])
        self.steps = state["steps"]
        self._head = self._action = None
