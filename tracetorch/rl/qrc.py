"""Q-learning that descends a true objective: QRC(lambda), with gradient corrections and a second network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.rl.body import DifferentiableAhead
from tracetorch.rl.q import Q
from tracetorch.rl.senses import Senses
from tracetorch.rl.step import FixedStep, Step
from tracetorch.rl.trace import ParameterTrace


class QRC(Q):
    r"""Gradient Q-learning with eligibility traces and regularised corrections.

    .. math:: \delta_t &= r_t + \gamma \max_a Q(s_{t+1}, a) - Q(s_t, a_t), \qquad
        \rho_t = [a_t \text{ is greedy}], \qquad h_t = h(s_t, a_t) \\
        z^h_t &= \rho_t\gamma\lambda\,z^h_{t-1} + h_t, \qquad
        z^w_t = \rho_t\gamma\lambda\,z^w_{t-1} + \nabla_w Q(s_t, a_t), \qquad
        z^\theta_t = \rho_t\gamma\lambda\,z^\theta_{t-1} + \nabla_\theta h_t \\
        w &\leftarrow w + \eta\,\big(\delta_t z^w_t - h_t \nabla_w Q(s_t, a_t) - z^h_t\,\nabla_w \delta_t\big) \\
        \theta &\leftarrow \theta + \eta\,\eta_h\,\big(\delta_t z^\theta_t - h_t \nabla_\theta h_t - \beta\,\theta\big)

    `Q` takes the next value as a constant, and can diverge; this follows the gradient of a projected Bellman error of
    the lambda-return. A second network with the weights :math:`\theta` estimates the expected error :math:`h`. Both are
    any networks of `tt.Layer` and ordinary modules, each with a rule; the gradient of the next value goes
    through the layers' traces as every other does. Without :math:`h` this is `Q`.

    Args:
        net: the network of Q, `[B, *in] -> [B, actions]`.
        errors: the network of h, `[B, *in] -> [B, actions]`, which shares no parameter with it.
        gamma: the discount per step.
        lam: the traces' decay, lambda.
        epsilon: probability of an action drawn evenly, a number or a function of the number of steps learned from.
        step: how to move along the update in brackets, which has its error inside; `FixedStep(1e-4)` by default.
        senses: what is between environment and networks.

    Raises:
        ValueError: if the networks share a parameter.

    Source: E. Elelimy, B. Daley, A. Patterson, M. C. Machado, A. White, M. White, "Deep Reinforcement Learning with
    Gradient Eligibility Traces" (2025), https://arxiv.org/abs/2507.09087, whose settings the defaults are.

    Example:
        >>> import torch, tracetorch as tt
        >>> q, h = (tt.Layer(torch.nn.Linear(2, 3), tt.LI(half_life=1)) for _ in range(2))
        >>> agent = tt.rl.QRC(q, h)
        >>> agent.act([1.0, 0.0]) in (0, 1, 2)
        True
        >>> agent.learn(1.0, [0.0, 1.0], terminated=False, truncated=False)
    """

    error_rate = 0.1
    """Step size of the second network as a share of the first's, eta_h."""
    regularisation = 1.0
    """Strength of the pull of the second network's weights towards 0, beta."""

    def __init__(
        self,
        net: nn.Module,
        errors: nn.Module,
        *,
        gamma: float = 0.99,
        lam: float = 0.8,
        epsilon: float | Callable[[int], float] = 0.05,
        step: Step | None = None,
        senses: Senses | None = None,
    ) -> None:
        if {id(p) for p in net.parameters()} & {id(p) for p in errors.parameters()}:
            raise ValueError("the networks of Q and h share parameters: each update is of one of them, make two")
        both = _Beside(net, errors)
        step = FixedStep(1e-4) if step is None else step
        super().__init__(both, gamma=gamma, lam=lam, epsilon=epsilon, step=step, senses=senses)
        self.body = DifferentiableAhead(both)
        self._update = ParameterTrace(both, self.senses.rows)
        self._weights = [p for p in errors.parameters() if p.requires_grad]
        self._first = self.trace.value.shape[1] - sum(p.numel() for p in self._weights)
        self._errors_trace = self.trace.value.new_zeros(self.senses.rows, 1)

    def choose(self, head: Tensor) -> Tensor:
        """Draw the rows' actions; cut the traces of those that explore."""
        return super().choose(_values(head))

    def greedy(self, head: Tensor) -> Tensor:
        """Return the rows' actions that are worth most."""
        return super().greedy(_values(head))

    def values(self, head: Tensor, action: Tensor) -> list[float]:
        """Return what the rows' actions are worth."""
        return super().values(_values(head), action)

    def targets(self, head: Tensor) -> list[float]:
        """Return what the best next actions are worth."""
        return super().targets(_values(head))

    def cotangent(self, head: Tensor, action: Tensor, errors: list[float]) -> Tensor:
        """Return one at the rows' actions, in both networks' outputs, and zero elsewhere."""
        return super().cotangent(_values(head), action, errors).repeat(1, 2)

    def move(self, ahead: Tensor | None, terminated: Sequence[bool]) -> None:
        """Move both networks; see the class for the formula."""
        head, action = self.last
        first, decay = self._first, self.gamma * self.lam
        h = _errors(head).gather(-1, action.unsqueeze(-1)).to(self.trace.value)
        delta = h.new_tensor(self.errors).unsqueeze(-1)
        self._update.clear()
        self.body.credit(self._update, self.cotangent(head, action, self.errors))
        gradient = self._update.value.clone()
        self.trace.decay(decay)
        self.trace.value.add_(gradient)
        self._errors_trace.mul_(decay).add_(h)
        self._update.clear()
        if ahead is not None:
            best = super().cotangent(_values(ahead), self.greedy(ahead), self.errors)
            best[torch.tensor(terminated, device=best.device)] = 0.0
            self.body.credit_ahead(self._update, torch.cat([best, torch.zeros_like(best)], -1))
        update = self._update.value
        update[:, :first].mul_(-self.gamma).add_(gradient[:, :first]).mul_(self._errors_trace)
        update.add_(delta * self.trace.value).sub_(h * gradient)
        weights = torch.cat([p.detach().flatten() for p in self._weights])
        update[:, first:].sub_(self.regularisation * weights).mul_(self.error_rate)
        self.step(self._update, [1.0] * len(update))

    def cut(self, mask: Tensor | None = None) -> None:
        """Clear the traces and leave the states; see `Agent.cut`."""
        super().cut(mask)
        if mask is None:
            self._errors_trace.zero_()
        else:
            self._errors_trace.masked_fill_(mask.reshape(-1, 1).to(self._errors_trace.device), 0.0)

    def compile(self) -> None:
        """Refuse: compiled kernels have no gradient of the next value.

        Raises:
            ValueError: always.
        """
        raise ValueError("QRC needs the gradient of the next value, which compiled kernels do not have; use tt.rl.Q")

    def state_dict(self) -> dict[str, Any]:
        """Return all that the agent has become; see `Agent.state_dict`."""
        return super().state_dict() | {"errors_trace": self._errors_trace}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the `state` that `state_dict` returned."""
        super().load_state_dict(state)
        self._errors_trace.copy_(state["errors_trace"])


class _Beside(nn.Module):
    """Two networks of one input, their outputs side by side."""

    def __init__(self, net: nn.Module, errors: nn.Module) -> None:
        super().__init__()
        self.net, self.errors = net, errors

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.net(x), self.errors(x)], -1)


def _values(head: Tensor) -> Tensor:
    return head[:, : head.shape[-1] // 2]


def _errors(head: Tensor) -> Tensor:
    return head[:, head.shape[-1] // 2 :]
