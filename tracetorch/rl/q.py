"""Learn what actions are worth, under the best policy: Watkins's Q(lambda)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.rl.agent import Agent
from tracetorch.rl.senses import Senses
from tracetorch.rl.step import Step


class Q(Agent):
    r"""Q-learning: values of actions under the greedy policy, from the epsilon-greedy policy that is followed.

    .. math:: \delta_t = r_t + \gamma \max_a Q(s_{t+1}, a) - Q(s_t, a_t), \qquad
        z_t = [a_t \text{ is greedy}]\,\gamma\lambda\,z_{t-1} + \nabla Q(s_t, a_t)

    The network puts out :math:`Q(s, a)` for each action. What follows an exploratory action says nothing about the
    greedy policy from before it, so the trace is cut there. With the bounded step `ObGD`, running scales of
    observations and rewards (`Senses`), sparse first weights (`sparse_init`) and layer normalisation in the network
    this is stream Q(lambda); its authors cut the trace after the exploratory action's update, here it is before.

    Args:
        net: the network, `[B, *in] -> [B, actions]`.
        gamma: the discount per step.
        lam: the trace's decay, lambda.
        epsilon: probability of an action drawn evenly, a number or a function of the number of steps learned from.
        step: how to move along the trace.
        senses: what is between environment and network.

    Source: C. J. C. H. Watkins, "Learning from Delayed Rewards" (1989),
    https://www.cs.rhul.ac.uk/~chrisw/new_thesis.pdf; M. Elsayed, G. Vasan, A. R. Mahmood, "Streaming Deep Reinforcement
    Learning Finally Works" (2024), https://arxiv.org/abs/2410.14606.

    Example:
        >>> import torch, tracetorch as tt
        >>> agent = tt.rl.Q(tt.Layer(torch.nn.Linear(2, 3), tt.LI(half_life=1)), epsilon=lambda steps: 0.1)
        >>> agent.act([1.0, 0.0]) in (0, 1, 2)
        True
        >>> agent.learn(1.0, [0.0, 1.0], terminated=True, truncated=False)
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

    def choose(self, head: Tensor) -> Tensor:
        """Draw the rows' actions; cut the traces of those that explore."""
        draws = torch.rand((2, len(head)), generator=self.generator, dtype=head.dtype)
        anyone = (draws[1] * head.shape[-1]).long().clamp_(max=head.shape[-1] - 1).to(head.device)
        action = torch.where(draws[0].to(head.device) < self.epsilon, anyone, head.argmax(-1))
        explores = head.gather(-1, action.unsqueeze(-1)).squeeze(-1) < head.amax(-1)
        if bool(explores.any()):
            self.cut(None if len(action) == 1 else explores)
        return action

    def greedy(self, head: Tensor) -> Tensor:
        """Return the rows' actions that are worth most."""
        return head.argmax(-1)

    def values(self, head: Tensor, action: Tensor) -> list[float]:
        """Return what the rows' actions are worth."""
        found: list[float] = head.gather(-1, action.unsqueeze(-1)).squeeze(-1).tolist()
        return found

    def targets(self, head: Tensor) -> list[float]:
        """Return what the best next actions are worth."""
        best: list[float] = head.amax(-1).tolist()
        return best

    def cotangent(self, head: Tensor, action: Tensor, errors: list[float]) -> Tensor:
        """Return one at the rows' actions and zero elsewhere."""
        return torch.zeros_like(head).scatter_(-1, action.unsqueeze(-1), 1.0)

    def to_env(self, action: Tensor) -> list[Any]:
        """Return the rows' actions as whole numbers."""
        return [int(a) for a in action.tolist()]
