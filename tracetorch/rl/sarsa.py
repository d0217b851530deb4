"""Learn what actions are worth, on the policy that is followed: SARSA(lambda)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.rl.agent import Agent
from tracetorch.rl.obgd import Step
from tracetorch.rl.senses import Senses


class ActionValues(Agent):
    r"""Choose the action that is worth most, or with a small probability any: epsilon-greedy.

    The network puts out :math:`Q(s, a)` for each action; the trace takes up :math:`\nabla Q(s_t, a_t)`.

    Args:
        net: the network, `[B, *in] -> [B, actions]`.
        gamma: the discount per step.
        lam: the trace's decay, lambda.
        epsilon: probability of an action drawn evenly, a number or a function of the number of steps learned from.
        step: how to move along the trace.
        senses: what stands between environment and network.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        gamma: float = 0.99,
        lam: float = 0.8,
        epsilon: float | Callable[[int], float] = 0.05,
        step: Step | None = None,
        senses: Senses | None = None,
    ) -> None:
        super().__init__(net, gamma=gamma, lam=lam, step=step, senses=senses)
        self._epsilon = epsilon

    @property
    def epsilon(self) -> float:
        """The probability of an action drawn evenly, now."""
        return self._epsilon if isinstance(self._epsilon, int | float) else self._epsilon(self.steps)

    def explore(self, head: Tensor) -> Tensor:
        """Draw the rows' actions."""
        draws = torch.rand((2, len(head)), generator=self.generator, dtype=head.dtype)
        anyone = (draws[1] * head.shape[-1]).long().clamp_(max=head.shape[-1] - 1).to(head.device)
        return torch.where(draws[0].to(head.device) < self.epsilon, anyone, head.argmax(-1))

    def greedy(self, head: Tensor) -> Tensor:
        """Return the rows' actions that are worth most."""
        return head.argmax(-1)

    def values(self, head: Tensor, action: Tensor) -> list[float]:
        """Return what the rows' actions are worth."""
        found: list[float] = head.gather(-1, action.unsqueeze(-1)).squeeze(-1).tolist()
        return found

    def cotangent(self, head: Tensor, action: Tensor, errors: list[float]) -> Tensor:
        """Return one at the rows' actions and zero elsewhere."""
        return torch.zeros_like(head).scatter_(-1, action.unsqueeze(-1), 1.0)

    def to_env(self, action: Tensor) -> list[Any]:
        """Return the rows' actions as whole numbers."""
        return [int(a) for a in action.tolist()]


class Sarsa(ActionValues):
    r"""Learn the worth of actions under the policy that is followed.

    .. math:: \delta_t = r_t + \gamma Q(s_{t+1}, a_{t+1}) - Q(s_t, a_t), \qquad
        z_t = \gamma\lambda\,z_{t-1} + \nabla Q(s_t, a_t)

    The next action is drawn before the update, from the values that the error is made of, and is the one that is taken.
    Arguments are those of `ActionValues`.

    Source: G. A. Rummery, M. Niranjan, "On-line Q-learning using connectionist systems" (1994),
    https://www.researchgate.net/publication/2500611; R. S. Sutton, A. G. Barto, "Reinforcement Learning: An
    Introduction", 2nd ed., section 12.7 (2018), http://incompleteideas.net/book/the-book-2nd.html.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = tt.Layer(torch.nn.Linear(2, 3), tt.LI(half_life=1))
        >>> agent = tt.rl.Sarsa(net, epsilon=0.1)
        >>> agent.act([1.0, 0.0]) in (0, 1, 2)
        True
        >>> agent.learn(1.0, [0.0, 1.0], terminated=False, truncated=False)
    """

    _next: Tensor | None = None

    def choose(self, head: Tensor) -> Tensor:
        """Return the actions that the last errors were made with, and draw where there are none."""
        planned, self._next = self._next, None
        if planned is None:
            return self.explore(head)
        begun = planned < 0
        return torch.where(begun, self.explore(head), planned) if bool(begun.any()) else planned

    def targets(self, head: Tensor) -> list[float]:
        """Draw the rows' next actions; return what they are worth."""
        self._next = self.explore(head)
        return self.values(head, self._next)

    def forget(self, mask: Tensor | None = None) -> None:
        """Begin new episodes; their first actions are still to be drawn."""
        if mask is None or self._next is None:
            self._next = None
        else:
            self._next = self._next.masked_fill(mask, -1)
        super().forget(mask)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the agent has become; see `Agent.state_dict`."""
        return {**super().state_dict(), "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        super().load_state_dict(state)
        self._next = state["next"]
