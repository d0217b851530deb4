"""Policies: how a network's outputs become an action, and the slopes of log-probability and entropy."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributions


class Policy(ABC):
    """A distribution of actions, from the numbers that a network puts out, its head.

    Derivatives with respect to the head are in closed form: one backward pass with such a cotangent gives that of the
    parameters, and no graph of a loss is built.

    Attributes:
        outputs: how many numbers the head has, n.

    Example:
        >>> import torch, tracetorch as tt
        >>> policy, head = tt.rl.Categorical(3), torch.zeros(2, 3)
        >>> policy.outputs, policy.sample(head).shape, policy.distribution(head).entropy()
        (3, torch.Size([2]), tensor([1.0986, 1.0986]))
    """

    outputs: int

    @abstractmethod
    def sample(self, head: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw an action for each row.

        Args:
            head: the head, `[B, n]`.
            generator: of the draws; torch's own by default.

        Returns:
            The actions, `[B]` or `[B, components]`.
        """

    @abstractmethod
    def greedy(self, head: Tensor) -> Tensor:
        """Return the most probable action for each row.

        Args:
            head: the head, `[B, n]`.

        Returns:
            The actions, `[B]` or `[B, components]`.
        """

    @abstractmethod
    def distribution(self, head: Tensor) -> distributions.Distribution:
        """Return each row's distribution of actions, for log-probabilities and entropies with a graph.

        Args:
            head: the head, `[B, n]`.

        Returns:
            The distribution, of batch shape `[B]`.
        """

    @abstractmethod
    def slope(self, head: Tensor, action: Tensor, entropy: float | Tensor = 0.0) -> Tensor:
        """Return the derivative of log-probability plus weighted entropy with respect to the head.

        Args:
            head: the head, `[B, n]`, without a graph.
            action: actions as `sample` returns them, `[B]` or `[B, components]`.
            entropy: weight of the entropy, a number or `[B]`.

        Returns:
            The cotangent, `[B, n]`.
        """

    @abstractmethod
    def to_env(self, action: Tensor) -> list[Any]:
        """Return the rows' actions as an environment takes them.

        Args:
            action: actions as `sample` returns them, `[B]` or `[B, components]`.

        Returns:
            The actions, one for each row.
        """


class Categorical(Policy):
    r"""One of n actions, by the softmax of n logits.

    .. math:: \frac{\partial \log \pi(a)}{\partial y} = \mathbf 1_a - \pi, \qquad
        \frac{\partial H}{\partial y} = -\pi \odot (\log \pi + H)

    Args:
        actions: number of actions, n.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.rl.Categorical(2).slope(torch.zeros(1, 2), torch.tensor([0]))
        tensor([[ 0.5000, -0.5000]])
    """

    def __init__(self, actions: int) -> None:
        if actions < 2:
            raise ValueError(f"a choice is among 2 actions or more, got {actions}")
        self.outputs = actions

    @staticmethod
    def _plain(head: Tensor) -> list[float]:
        """Return the log-probabilities of the one row of a head: so few numbers are dealt with faster outside torch."""
        row: list[float] = head[0].tolist()
        top = max(row)
        shift = top + math.log(sum(math.exp(x - top) for x in row))
        return [x - shift for x in row]

    def sample(self, head: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw an action for each row, `[B]` whole numbers."""
        if len(head) == 1 and head.is_cpu:
            left = float(torch.rand((), generator=generator, dtype=torch.float64))
            action = -1
            for log in self._plain(head):
                action += 1
                left -= math.exp(log)
                if left < 0.0:
                    break
            return torch.tensor([action])
        edges = torch.softmax(head, -1).cumsum(-1)
        draw = torch.rand((len(head), 1), generator=generator, dtype=head.dtype, device=head.device)
        return (edges < draw).sum(-1).clamp_(max=self.outputs - 1)

    def greedy(self, head: Tensor) -> Tensor:
        """Return the action of the largest logit, `[B]`."""
        return head.argmax(-1)

    def distribution(self, head: Tensor) -> distributions.Categorical:
        """Return the softmax of each row's logits."""
        return distributions.Categorical(logits=head)

    def slope(self, head: Tensor, action: Tensor, entropy: float | Tensor = 0.0) -> Tensor:
        """Return the derivative of log-probability plus weighted entropy; see `Policy.slope`."""
        if len(head) == 1 and head.is_cpu and not isinstance(entropy, Tensor):
            plain = self._plain(head)
            spread = sum(math.exp(log) * log for log in plain)
            row = [math.exp(log) * (entropy * (spread - log) - 1.0) for log in plain]
            row[int(action)] += 1.0
            return torch.tensor([row], dtype=head.dtype)
        weight = entropy.unsqueeze(-1) if isinstance(entropy, Tensor) else entropy
        logs = torch.log_softmax(head, -1)
        p = logs.exp()
        mean = (p * logs).sum(-1, keepdim=True)
        result = p * (weight * (mean - logs) - 1.0)
        return result.scatter_add_(-1, action.unsqueeze(-1), torch.ones_like(result[:, :1]))

    def to_env(self, action: Tensor) -> list[int]:
        """Return the rows' actions as whole numbers."""
        return [int(a) for a in action.tolist()]


class Gaussian(Policy):
    r"""n independent normal numbers; the head has n means, then n raw widths.

    .. math:: \sigma = \sigma_0 + \ln(1 + e^{\rho}), \qquad
        \frac{\partial \log \pi(a)}{\partial \mu} = \frac{a - \mu}{\sigma^2}, \qquad
        \frac{\partial \log \pi(a)}{\partial \rho} = \frac{(a - \mu)^2 - \sigma^2}{\sigma^3}\,\frac{1}{1+e^{-\rho}}

    Args:
        size: number of components of an action, n.
        scale: an action of 1 is this to the environment, where it is clipped to `[-limit, limit]`.
        limit: largest component that the environment takes, in its unit; None takes `scale`.
        floor: smallest width :math:`\sigma_0`.

    Example:
        >>> import torch, tracetorch as tt
        >>> policy = tt.rl.Gaussian(1)
        >>> policy.outputs, policy.greedy(torch.tensor([[0.3, 0.0]]))
        (2, tensor([[0.3000]]))
    """

    def __init__(self, size: int, *, scale: float = 1.0, limit: float | None = None, floor: float = 1e-2) -> None:
        if size < 1 or scale <= 0 or floor <= 0:
            raise ValueError(f"size, scale and floor are positive, got {size}, {scale} and {floor}")
        self.size, self.scale, self.floor = size, scale, floor
        self.limit = scale if limit is None else limit
        self.outputs = 2 * size

    def _parts(self, head: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, raw = head.split(self.size, -1)
        return mean, raw, self.floor + torch.nn.functional.softplus(raw)

    def sample(self, head: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw an action for each row, `[B, n]`."""
        mean, _, width = self._parts(head)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + width * noise

    def greedy(self, head: Tensor) -> Tensor:
        """Return the means, `[B, n]`."""
        return head[..., : self.size]

    def distribution(self, head: Tensor) -> distributions.Distribution:
        """Return the normal distribution of each row's action."""
        mean, _, width = self._parts(head)
        return distributions.Independent(distributions.Normal(mean, width), 1)

    def slope(self, head: Tensor, action: Tensor, entropy: float | Tensor = 0.0) -> Tensor:
        """Return the derivative of log-density plus weighted entropy; see `Policy.slope`."""
        weight = entropy.unsqueeze(-1) if isinstance(entropy, Tensor) else entropy
        mean, raw, width = self._parts(head)
        z = (action - mean) / width
        by_width = (z.square() - 1.0 + weight) / width
        return torch.cat([z / width, by_width * torch.sigmoid(raw)], -1)

    def to_env(self, action: Tensor) -> list[Any]:
        """Return the rows' actions as arrays, scaled and clipped."""
        scaled = np.clip(action.detach().cpu().numpy() * self.scale, -self.limit, self.limit)
        return list(scaled.astype(np.float32))
