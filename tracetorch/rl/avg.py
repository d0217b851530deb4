"""Continuous actions by the gradient of their value, one step at a time: AVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tracetorch.rl.agent import Agent
from tracetorch.rl.body import AutogradBody, Body, Memoryless
from tracetorch.rl.normalize import ErrorScale
from tracetorch.rl.senses import Senses
from tracetorch.rl.step import OptimizerStep, Step
from tracetorch.rl.trace import ParameterTrace

LOG_WIDTHS = (-20.0, 2.0)
"""Least and greatest logarithm of a width."""


class AVG(Agent):
    r"""Action value gradient: a critic of state and action, and an actor that climbs it.

    .. math:: u_t &= \mu_\theta(s_t) + e^{\rho_\theta(s_t)} \epsilon_t, \qquad a_t = \tanh u_t, \qquad
        \log\pi(a_t) = \sum \big(\log \mathcal N(u_t) - \log(1 - a_t^2)\big) \\
        \delta_t &= r_t + \gamma\,\big(Q(s_{t+1}, a') - \alpha\log\pi(a')\big) - Q(s_t, a_t), \qquad
        a' \sim \pi(s_{t+1}) \\
        w &\leftarrow w + \eta_w\,(\delta_t / \sigma_t)\,\nabla_w Q(s_t, a_t), \qquad
        \theta \leftarrow \theta + \eta_\theta\,\nabla_\theta\big(Q(s_t, a_t) - \alpha\log\pi(a_t)\big)

    The actor's gradient goes through the action, at a fixed noise :math:`\epsilon_t`. There is no trace over
    parameters, no replay and no target network; what makes the single step stable is the scale :math:`\sigma` of the
    errors (`ErrorScale`), the running normalisation of observations (`Senses`), and `UnitNorm` under the last layer of
    both networks. Networks with memory are credited by their rule: the critic's through :math:`w` and through the
    action of this step.

    Args:
        actor: the actor, `[B, *in] -> [B, 2 n]`: n means, then n logarithms of widths.
        critic: the critic, `[B, in + n] -> [B, 1]`; its input is the actor's, then the action in [-1, 1].
        scale: an action of 1 is this to the environment.
        gamma: the discount per step.
        entropy: weight of the entropy, alpha.
        steps: how to move the actor and the critic; by default Adam without momentum and the paper's step sizes for
            MuJoCo, 0.0063 and 0.0087.
        senses: what is between environment and networks.

    Attributes:
        scales: the running scale of errors.

    Source: G. Vasan, M. Elsayed, S. A. Azimi, J. He, F. Shahriar, C. Bellinger, M. White, A. R. Mahmood, "Deep Policy
    Gradient Methods Without Batch Updates, Target Networks, or Replay Buffers" (2024),
    https://arxiv.org/abs/2411.15370.

    Example:
        >>> import torch, tracetorch as tt
        >>> actor = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.LeakyReLU(), torch.nn.Linear(16, 2))
        >>> critic = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.LeakyReLU(), torch.nn.Linear(16, 1))
        >>> agent = tt.rl.AVG(actor, critic, scale=2.0)
        >>> bool(abs(agent.act([1.0, 0.0, 0.0])[0]) <= 2.0)
        True
        >>> agent.learn(-1.0, [0.9, 0.1, 0.0], terminated=False, truncated=False)
    """

    def __init__(
        self,
        actor: nn.Module,
        critic: nn.Module,
        *,
        scale: float = 1.0,
        gamma: float = 0.99,
        entropy: float = 0.07,
        steps: tuple[Step, Step] | None = None,
        senses: Senses | None = None,
    ) -> None:
        first, second = (_adam(actor, 0.0063), _adam(critic, 0.0087)) if steps is None else steps
        super().__init__(actor, gamma=gamma, lam=0.0, step=first, senses=senses)
        self.critic, self.critic_step = critic, second
        self.scale, self.entropy = scale, entropy
        rows = self.senses.rows
        self.critic_trace = ParameterTrace(critic, rows)
        self.critic_body: Body = AutogradBody(critic)
        self.scales = ErrorScale(gamma, rows=rows)
        self._taken = self._next = torch.empty(0)
        self._values: list[float] = []

    def choose(self, head: Tensor) -> Tensor:
        """Draw the rows' actions before the squashing, `[R, n]`."""
        mean, width = _parts(head)
        noise = torch.randn(mean.shape, generator=self.generator, dtype=mean.dtype)
        return mean + width * noise.to(mean.device)

    def greedy(self, head: Tensor) -> Tensor:
        """Return the means, before the squashing, `[R, n]`."""
        return _parts(head)[0]

    def act_rows(self, observations: npt.ArrayLike) -> list[Any]:
        """Advance both networks by the observations of all rows; see `Agent.act_rows`."""
        x = self.senses.observe(observations)
        self._head = self.body.forward(x)
        self._action = self.choose(self._head)
        self._taken = torch.tanh(self._action).requires_grad_()
        value = self.critic_body.forward(torch.cat([x, self._taken], -1))
        self._values = value.squeeze(-1).tolist()
        return self.to_env(self._action)

    def values(self, head: Tensor, action: Tensor) -> list[float]:
        """Return what the critic said of the rows' actions."""
        return self._values

    def targets(self, head: Tensor) -> list[float]:
        """Return what an action drawn next is worth, with its entropy."""
        action = self.choose(head)
        x = torch.cat([self._next, torch.tanh(action)], -1)
        value = self.critic_body.ahead(x).squeeze(-1)
        soft: list[float] = (value - self.entropy * log_density(head, action)).tolist()
        return soft

    def cotangent(self, head: Tensor, action: Tensor, errors: list[float]) -> Tensor:
        """Return the slope of value plus entropy with respect to the actor's output, through the action."""
        slope = self._taken.grad
        if slope is None:
            raise RuntimeError("the critic's gradient comes before the actor's")
        mean, _ = _parts(head)
        squashed = torch.tanh(action)
        by_action = slope * (1 - squashed.square()) - 2 * self.entropy * squashed
        raw = head[:, mean.shape[-1] :]
        inside = (raw > LOG_WIDTHS[0]) & (raw < LOG_WIDTHS[1])
        return torch.cat([by_action, (by_action * (action - mean) + self.entropy) * inside], -1)

    def improve(self, x: Tensor, rewards: Sequence[float], terminated: Sequence[bool], done: Sequence[bool]) -> None:
        """Count the rewards with their entropy in the scale of errors, then learn; see `Agent.improve`."""
        self._next = x
        logs = log_density(*self.last).tolist()
        self.scales.update([r - self.entropy * log for r, log in zip(rewards, logs, strict=True)], terminated, done)
        super().improve(x, rewards, terminated, done)

    def move(self, ahead: Tensor | None, terminated: Sequence[bool]) -> None:
        """Move actor and critic, both along gradients under the weights of before."""
        head, action = self.last
        sigma = self.scales.sigma
        for trace in (self.trace, self.critic_trace):
            trace.clear()
        self.critic_body.credit(self.critic_trace, head.new_ones(len(head), 1))
        self.body.credit(self.trace, self.cotangent(head, action, self.errors))
        self.step(self.trace, [1.0] * len(head))
        self.critic_step(self.critic_trace, [error / sigma for error in self.errors])

    def forget(self, mask: Tensor | None = None) -> None:
        """Begin new episodes; see `Agent.forget`."""
        super().forget(mask)
        self.critic_body.forget(mask)

    def without_memory(self) -> None:
        """Reset both networks before each step from now on; see `Agent.without_memory`."""
        super().without_memory()
        self.critic_body = Memoryless(self.critic_body)

    def to_env(self, action: Tensor) -> list[Any]:
        """Return the rows' actions as arrays, squashed and scaled."""
        return list((self.scale * torch.tanh(action)).cpu().numpy().astype(np.float32))

    def state_dict(self) -> dict[str, Any]:
        """Return all that the agent has become; see `Agent.state_dict`."""
        critic = {
            "weights": dict(self.critic.state_dict()),
            "stream": self.critic_body.state(),
            "step": self.critic_step.state_dict(),
            "scales": self.scales.state_dict(),
        }
        return super().state_dict() | {"critic": critic}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the `state` that `state_dict` returned."""
        super().load_state_dict(state)
        critic = state["critic"]
        self.critic.load_state_dict(critic["weights"])
        self.critic_body.load(critic["stream"])
        self.critic_step.load_state_dict(critic["step"])
        self.scales.load_state_dict(critic["scales"])


def _adam(net: nn.Module, lr: float) -> OptimizerStep:
    return OptimizerStep(lambda parameters: torch.optim.Adam(parameters, lr=lr, betas=(0.0, 0.999)), net)


def _parts(head: Tensor) -> tuple[Tensor, Tensor]:
    """Return means and widths, `[R, n]` each."""
    mean, raw = head.chunk(2, -1)
    return mean, raw.clamp(*LOG_WIDTHS).exp()


def log_density(head: Tensor, action: Tensor) -> Tensor:
    r"""Return the logarithm of a squashed action's density, for actions before the squashing, `[R, n]`.

    .. math:: \sum \log \mathcal N(u; \mu, e^\rho) - \log(1 - \tanh^2 u), \qquad
        \log(1 - \tanh^2 u) = 2\,(\log 2 - u - \operatorname{softplus}(-2u))
    """
    mean, width = _parts(head)
    gauss = -0.5 * ((action - mean) / width).square() - width.log() - 0.5 * math.log(2 * math.pi)
    squash = 2 * (math.log(2) - action - nn.functional.softplus(-2 * action))
    return (gauss - squash).sum(-1)
