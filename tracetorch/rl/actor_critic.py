"""Actor-critic with eligibility traces, AC(lambda)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from tracetorch.rl.agent import Agent
from tracetorch.rl.policy import Policy
from tracetorch.rl.senses import Senses
from tracetorch.rl.step import Step


class ActorCritic(Agent):
    r"""A policy and a value that learn together, from one TD error.

    .. math:: \delta_t &= r_t + \gamma V(s_{t+1}) - V(s_t) \\
        z_t &= \gamma\lambda\, z_{t-1} + \nabla\log\pi(a_t) + \tau\,\mathrm{sign}(\delta_t)\,\nabla H_t +
        c\,\nabla V(s_t), \qquad \theta \leftarrow \theta + \eta\,\delta_t z_t

    Actor and critic share :math:`\delta`, so one trace and one backward pass serve both, in one network or two. The
    entropy enters times the sign of the error because the trace is multiplied by the error afterwards: so it always
    pushes towards more entropy. The network puts out the policy's head, then the value.

    Args:
        net: the network, `[B, *in] -> [B, n + 1]`.
        policy: what the head means, of n numbers.
        gamma: the discount per step.
        lam: the trace's decay, lambda.
        entropy: weight of the entropy, tau.
        step: how to move along the trace; `ObGD()` by default.
        senses: what is between environment and network.

    Source: R. S. Sutton, A. G. Barto, "Reinforcement Learning: An Introduction", 2nd ed., section 13.5 (2018),
    http://incompleteideas.net/book/the-book-2nd.html; M. Elsayed, G. Vasan, A. R. Mahmood, "Streaming Deep
    Reinforcement Learning Finally Works" (2024), https://arxiv.org/abs/2410.14606.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(
        ...     tt.Layer(torch.nn.Linear(4, 16), tt.LIF(half_life=2)),
        ...     tt.Layer(torch.nn.Linear(16, 3), tt.LI(half_life=2)),
        ... )
        >>> agent = tt.rl.ActorCritic(net, tt.rl.Categorical(2))
        >>> agent.act([0.1, 0.2, 0.3, 0.4]) in (0, 1)
        True
        >>> agent.learn(1.0, [0.1, 0.2, 0.3, 0.5], terminated=False, truncated=False)
    """

    value_weight = 1.0
    """Weight of the value's gradient in the trace, c."""

    def __init__(
        self,
        net: nn.Module,
        policy: Policy,
        *,
        gamma: float = 0.99,
        lam: float = 0.8,
        entropy: float = 0.01,
        step: Step | None = None,
        senses: Senses | None = None,
    ) -> None:
        super().__init__(net, gamma=gamma, lam=lam, step=step, senses=senses)
        self.policy, self.entropy = policy, entropy

    def choose(self, head: Tensor) -> Tensor:
        """Draw the rows' actions from the policy."""
        if head.shape[-1] != self.policy.outputs + 1:
            raise ValueError(
                f"the network puts out {head.shape[-1]} numbers; the policy's head has {self.policy.outputs}, and one "
                f"more is the value"
            )
        return self.policy.sample(head[:, :-1], self.generator)

    def greedy(self, head: Tensor) -> Tensor:
        """Return the rows' most probable actions."""
        return self.policy.greedy(head[:, :-1])

    def values(self, head: Tensor, action: Tensor) -> list[float]:
        """Return the values, the outputs' last column."""
        return [row[-1] for row in head.tolist()]

    def targets(self, head: Tensor) -> list[float]:
        """Return the next states' values."""
        return [row[-1] for row in head.tolist()]

    def cotangent(self, head: Tensor, action: Tensor, errors: list[float]) -> Tensor:
        """Return the slope of log-probability and entropy, and the value's weight."""
        signs = [math.copysign(self.entropy, e) if e else 0.0 for e in errors]
        weight = signs[0] if len(signs) == 1 else head.new_tensor(signs)
        slope = self.policy.slope(head[:, :-1], action, weight)
        return nn.functional.pad(slope, (0, 1), value=self.value_weight)

    def to_env(self, action: Tensor) -> list[Any]:
        """Return the rows' actions as the environment takes them."""
        return self.policy.to_env(action)
