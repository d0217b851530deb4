"""The policy gradient of whole episodes, accumulated online: REINFORCE whose memory is a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.linking import layers
from tracetorch.network import get_state, restart, set_state
from tracetorch.rl.look_ahead import LookAhead
from tracetorch.rl.policy import Policy
from tracetorch.rl.trace import ParameterTrace
from tracetorch.traces import Graph


class Reflect:
    r"""REINFORCE's gradient in one pass, without a record of the episode.

    .. math:: z_k = \gamma z_{k-1} + \nabla \log\pi(a_k), \qquad
        \sum_t \nabla \log\pi(a_t) \sum_{k \ge t} \gamma^{k-t} r_k = \sum_k r_k z_k

    Three things must be known about it. The sum is REINFORCE's gradient while the weights stay as they are: call
    `finish` at the end of an episode and step the optimizer there; after a step in its middle, z is stale, a sum of
    gradients under older weights. :math:`\nabla` is the total derivative through the network's state: only rules that
    are exact for the network give it (`eprop` for one layer under a leaky readout, `drtrl` for one layer, `bptt` for
    all, with a memory that grows); the others give that of their own credit. And the formula leaves out the factor
    :math:`\gamma^t` with which the gradient of the discounted return of an episode's start weighs step t, as nearly
    everybody does.

    With a value, a reward is compared with it step by step: :math:`\delta_k = r_k + \gamma V_{k+1} - V_k` takes the
    place of :math:`r_k`, and the sum telescopes into :math:`\sum_t \nabla\log\pi(a_t)\,(G_t - V_t)`, REINFORCE with the
    value as its baseline, unbiased for any length of an episode; the trace takes up :math:`\nabla V` too, so the value
    is learned.

    Args:
        net: the network, `[B, *in] -> [B, n]`, or `[B, n + 1]` with a value, last.
        policy: what the head's n numbers mean.
        gamma: the discount per step.
        value: whether the network's last output is a value, to compare rewards with.
        rows: number of rows of the batch, R, each with its own trace.
        seed: of the draws of actions.

    Attributes:
        gradient: the sum so far, `[P]`, uphill.

    Source: R. J. Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning"
    (1992), https://doi.org/10.1007/BF00992696.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(
        ...     tt.Layer(torch.nn.Linear(3, 8), tt.LIF(half_life=3)),
        ...     tt.Layer(torch.nn.Linear(8, 2), tt.LI(half_life=3)),
        ... )
        >>> tt.set_rule(net, tt.rules.eprop())
        >>> optimizer = torch.optim.Adam(net.parameters())
        >>> reflect = tt.rl.Reflect(net, tt.rl.Categorical(2), gamma=0.9)
        >>> for step in range(5):
        ...     action = reflect.act(torch.ones(1, 3))
        ...     reflect.reward([float(action[0] == 1)])
        >>> reflect.finish()
        >>> optimizer.step()
    """

    def __init__(
        self,
        net: nn.Module,
        policy: Policy,
        *,
        gamma: float = 1.0,
        value: bool = False,
        rows: int = 1,
        seed: int = 0,
    ) -> None:
        if not 0.0 <= gamma <= 1.0:
            raise ValueError(f"gamma must lie in [0, 1], got {gamma}")
        self.net, self.policy, self.gamma, self.value = net, policy, gamma, value
        self.trace = ParameterTrace(net, rows)
        self.gradient = torch.zeros_like(self.trace.value[0])
        self.generator = torch.Generator().manual_seed(seed)
        self._whole = any(isinstance(layer.rule.weight, Graph) for layer in layers(net).values())
        self._rewards: list[float] | None = None
        self._values = [0.0] * rows

    def act(self, x: Tensor, action: Tensor | None = None) -> Tensor:
        r"""Advance the network, draw actions, and add :math:`\nabla\log\pi` to the trace.

        Args:
            x: the network's input, `[R, *in]`.
            action: the actions, `[R]` or `[R, components]`; drawn where they are None.

        Returns:
            The actions, `[R]` or `[R, components]`.
        """
        output: Tensor = self.net(x)
        head = output.detach()
        size = self.policy.outputs
        values = head[:, -1].tolist() if self.value else self._values
        self._settle(values)
        self._values = values
        if action is None:
            action = self.policy.sample(head[:, :size], self.generator)
        cotangent = self.policy.slope(head[:, :size], action)
        if self.value:
            cotangent = torch.cat([cotangent, torch.ones_like(cotangent[:, :1])], -1)
        self.trace.decay(self.gamma)
        self.trace.add(output, cotangent, retain_graph=self._whole)
        return action

    def reward(self, rewards: Sequence[float]) -> None:
        """Give the rows the rewards of their last actions.

        Args:
            rewards: one for each row.

        Raises:
            FloatingPointError: if a reward is not finite.
        """
        numbers = [float(r) for r in rewards]
        if not bool(torch.isfinite(torch.tensor(numbers)).all()):
            raise FloatingPointError(f"rewards must be finite, got {numbers}")
        if self._rewards is not None:
            raise RuntimeError("a second reward came for one action: add them up, and give one")
        self._rewards = numbers

    def _settle(self, nexts: Sequence[float]) -> None:
        if self._rewards is None:
            return
        signals = self._rewards
        if self.value:
            signals = [r + self.gamma * after - v for r, v, after in zip(signals, self._values, nexts, strict=True)]
        self.gradient += self.trace.weighted(self.trace.value.new_tensor(signals))
        self._rewards = None

    def finish(self, last: Tensor | None = None) -> None:
        """End the episodes: write minus the gradient, mean over rows, into the parameters' `.grad`, and start again.

        Args:
            last: the input after the last step where the episodes were truncated and not terminated, `[R, *in]`: its
                value then counts, where there is one.
        """
        nexts = [0.0] * len(self.trace.value)
        if last is not None and self.value:
            nexts = LookAhead(self.net)(last)[:, -1].tolist()
        self._settle(nexts)
        self.trace.write_grad(self.gradient / -len(nexts))
        self.gradient = torch.zeros_like(self.gradient)
        self.trace.clear()
        restart(self.net)

    def state_dict(self) -> dict[str, Any]:
        """Return everything except the weights and the optimizer's state; between a `reward` and the next `act`.

        Returns:
            A nested dictionary of tensors and plain values.
        """
        return {
            "stream": get_state(self.net),
            "trace": self.trace.state_dict(),
            "gradient": self.gradient,
            "generator": self.generator.get_state(),
            "pending": [self._rewards, list(self._values)],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: the dictionary.
        """
        restart(self.net)
        set_state(self.net, state["stream"])
        self.trace.load_state_dict(state["trace"])
        self.gradient = state["gradient"].clone()
        self.generator.set_state(state["generator"])
        self._rewards, self._values = state["pending"]
