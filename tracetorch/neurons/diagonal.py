"""Diagonal recurrence: each unit feeds its own output back to itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.neurons.base import Neuron


class DiagonalRecurrent(Neuron):
    r"""Feed each unit's last output back to it, through its own learned weight.

    .. math:: I'_t = I_t + r \odot z_{t-1}

    The output joins the state and `r` is a neuron parameter, so that full eligibility stays exact.

    Args:
        neuron: the neuron inside.
        shape: the units' shape, of which `r` has one value each.
        init: start value of `r`, in the unit of the current.

    Example:
        >>> import torch, tracetorch as tt
        >>> neuron = tt.DiagonalRecurrent(tt.LIF(half_life=10), (4,))
        >>> tt.Layer(torch.nn.Linear(3, 4), neuron)(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(self, neuron: Neuron, shape: tuple[int, ...] | int, *, init: float = 0.0) -> None:
        nn.Module.__init__(self)
        if not isinstance(neuron, Neuron):
            raise TypeError(f"DiagonalRecurrent takes a neuron such as tt.LIF(half_life=10), got {neuron!r}")
        self.inner = neuron
        self.r = nn.Parameter(torch.full((shape,) if isinstance(shape, int) else tuple(shape), float(init)))
        self.state = (*neuron.state, "z")  # type: ignore[misc]
        self.counters = neuron.counters

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        size = len(self.inner.state)
        inside = self.inner.pack((*s[:size], *s[size + 1 :]))
        after, z = self.inner.step(inside, current + self.r * s.z)
        return self.pack((*after[:size], z, *after[size:])), z

    @property
    def decay(self) -> Tensor | None:
        """The inner membrane's decay per step."""
        return self.inner.decay
