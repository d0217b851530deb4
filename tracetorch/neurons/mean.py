"""The plain average over time: a readout that weighs all steps alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tracetorch.neurons.base import Readout

LIMB = 2**20
"""Steps that are counted in one number before the next one counts them as one: each stays far below 2**24, where
single precision stops counting."""


class Mean(Readout):
    r"""Mean of all currents since the last reset.

    .. math:: z_t = \frac{1}{t} \sum_{k \le t} I_k

    However long the stream is: the sum carries what its rounding cut off to the next step (compensated summation), and
    the number of steps is counted in two numbers, in single precision up to 10**13 steps.

    Source: W. Kahan, "Pracniques: further remarks on reducing truncation errors" (1965),
    https://doi.org/10.1145/363707.363723.

    Example:
        >>> import torch, tracetorch as tt
        >>> readout = tt.Layer(torch.nn.Linear(3, 2), tt.Mean())
        >>> readout(torch.ones(1, 3)).shape
        torch.Size([1, 2])
    """

    state = ("total",)
    counters = ("steps", "limbs", "rest")

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        added = current + s.rest
        total = s.total + added
        rest = (added - (total - s.total)).detach()
        steps, limbs = counted(s.steps, s.limbs)
        return self.pack((total, steps, limbs, rest)), total / (limbs * LIMB + steps)

    @property
    def decay(self) -> Tensor:
        """One: a plain average forgets nothing."""
        return torch.ones(())


def counted(steps: Tensor, limbs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two numbers that count steps, after one more."""
    steps = steps + 1
    full = (steps >= LIMB).to(steps.dtype)
    return steps - LIMB * full, limbs + full
