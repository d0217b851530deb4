"""The cheap form of Reflect: a trace of the score, and the layers' own averages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tracetorch.rl.policy import Policy
from tracetorch.rl.streams import reset


class FactoredReflect:
    r"""Approximate Reflect with one number per row and output, and one backward pass per reward.

    .. math:: \bar s_k = \gamma\,\bar s_{k-1} + \frac{\partial\log\pi(a_k)}{\partial y_k}, \qquad
        r_k\, z_k = r_k \sum_{t \le k} \gamma^{k-t} \frac{\partial\log\pi(a_t)}{\partial y_t} \nabla y_t
        \;\approx\; r_k\, \bar s_k\, \nabla y_k

    For a softmax the score is `onehot(a) - pi`. What is dropped is how the score and the output's sensitivity vary
    together in time; with constant input and a policy that stands still the two agree. Under `tt.rules.trace()`
    :math:`\nabla y_k` is made of the layers' bias-corrected averages, so nothing is as large as the weights; other
    rules with gradients at each step work likewise. Rows of a batch cost nothing extra, since the score's trace is per
    row. `tests/rl` holds its cosine to the exact form.

    Args:
        net: the network, `[B, *in] -> [B, n]`.
        policy: what the n numbers mean.
        gamma: the discount per step.
        seed: of the draws of actions.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(
        ...     tt.Layer(torch.nn.Linear(3, 8), tt.LIF(half_life=3)),
        ...     tt.Layer(torch.nn.Linear(8, 2), tt.LI(half_life=3)),
        ... )
        >>> reflect = tt.rl.FactoredReflect(net, tt.rl.Categorical(2), gamma=0.9)
        >>> action = reflect.act(torch.ones(4, 3))
        >>> reflect.reward([1.0, 0.0, 0.0, 1.0])
        >>> [p.grad is not None for p in net.parameters()]
        [True, True, True, True]
        >>> reflect.finish()
    """

    def __init__(self, net: nn.Module, policy: Policy, *, gamma: float = 1.0, seed: int = 0) -> None:
        if not 0.0 <= gamma <= 1.0:
            raise ValueError(f"gamma must lie in [0, 1], got {gamma}")
        self.net, self.policy, self.gamma = net, policy, gamma
        self.generator = torch.Generator().manual_seed(seed)
        self.score: Tensor | None = None
        self._output: Tensor | None = None

    def act(self, x: Tensor, action: Tensor | None = None) -> Tensor:
        """Advance the network, draw actions, and take the score into its trace.

        Args:
            x: the network's input, `[B, *in]`.
            action: the actions, where they are given and not to be drawn.

        Returns:
            The actions.
        """
        self._output = self.net(x)
        head = self._output.detach()
        if action is None:
            action = self.policy.sample(head, self.generator)
        slope = self.policy.slope(head, action)
        self.score = slope if self.score is None else self.gamma * self.score + slope
        return action

    def reward(self, rewards: Sequence[float]) -> None:
        """Add the gradient of the rows' rewards, mean over rows and downhill, to the parameters' `.grad`.

        Args:
            rewards: one for each row, less a baseline where there is one; zeros cost nothing.

        Raises:
            FloatingPointError: if a reward is not finite.
            RuntimeError: if no action came before.
        """
        if self._output is None or self.score is None:
            raise RuntimeError("a reward came before an action")
        signals = self.score.new_tensor([float(r) for r in rewards])
        if not bool(torch.isfinite(signals).all()):
            raise FloatingPointError(f"rewards must be finite, got {list(rewards)}")
        output, self._output = self._output, None
        if bool(signals.any()):
            output.backward(self.score * signals.unsqueeze(-1) / -len(signals))

    def finish(self, mask: Tensor | None = None) -> None:
        """End the episodes of some rows: forget scores and states.

        Args:
            mask: `[B]`, true for those rows; None for all.
        """
        if mask is None or self.score is None:
            self.score = None
        else:
            self.score = self.score.masked_fill(mask.unsqueeze(-1), 0.0)
        reset(self.net, mask)
