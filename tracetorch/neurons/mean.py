"""The plain average over time: a readout that weighs all steps alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tracetorch.neurons.base import Constant, Readout
from tracetorch.neurons.blocks import Blocks
from tracetorch.neurons.scalar import Scalar


class Mean(Readout):
    r"""Give the mean of all currents since the last reset.

    .. math:: z_t = \frac{1}{t} \sum_{k \le t} I_k

    Example:
        >>> import torch, tracetorch as tt
        >>> readout = tt.Layer(torch.nn.Linear(3, 2), tt.Mean())
        >>> readout(torch.ones(1, 3)).shape
        torch.Size([1, 2])
    """

    state = ("total",)
    counters = ("count",)

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        total, count = s.total + current, s.count + 1
        return self.pack((total, count)), total / count

    def blocks(self, s: tuple[Tensor, ...], current: Tensor, params: Mapping[str, Tensor]) -> Blocks:
        """Return the Jacobian blocks in closed form; see `Neuron.blocks`."""
        one = torch.ones((), dtype=current.dtype, device=current.device)
        share = 1 / (s[1] + 1)
        return Blocks([[one]], [one], [share], share)

    def scalar(self) -> Scalar:
        """Return the step on plain numbers; see `Neuron.scalar`."""
        return Scalar("mean", 1, ())

    def constant(self, unit: tuple[int, ...], *, detach_reset: bool = False) -> Constant:
        """Return A = B = 1; see `Neuron.constant`."""
        return torch.ones(1, 1), torch.ones(1)

    @property
    def decay(self) -> Tensor:
        """One: a plain average forgets nothing."""
        return torch.ones(())
