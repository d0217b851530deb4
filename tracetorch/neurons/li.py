"""The leaky integrator: the usual readout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tracetorch.neurons.arguments import switch
from tracetorch.neurons.base import Readout
from tracetorch.neurons.decays import Decay, Value, set_decay


class LI(Readout):
    r"""Leaky integrator, whose output is its membrane.

    .. math:: v_t = \beta v_{t-1} + k I_t, \qquad z_t = v_t, \qquad k = 1 \text{ or } 1 - \beta

    Args:
        normalized: scale the input by `1 - beta`, so that a constant current gives itself in the long run.
        half_life: steps after which half of the membrane is left; a number, a tensor per unit, or `Learnable`. Give
            exactly one of `half_life`, `tau` and `beta`.
        tau: steps after which 1/e of the membrane is left.
        beta: decay of the membrane per step, in (0, 1).

    Raises:
        ValueError: if not exactly one decay is given, or it is out of range.

    Example:
        >>> import torch, tracetorch as tt
        >>> layer = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=20))
        >>> layer(torch.ones(1, 3)).shape
        torch.Size([1, 2])
    """

    state = ("v",)
    beta: Tensor

    def __init__(
        self,
        *,
        normalized: bool = False,
        half_life: Value | None = None,
        tau: Value | None = None,
        beta: Value | None = None,
    ) -> None:
        torch.nn.Module.__init__(self)
        self.normalized = switch("normalized", normalized)
        set_decay(self, "beta", Decay(half_life, tau, beta), hint="; tt.Mean() weighs all steps alike")

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        v = self.beta * s.v + ((1 - self.beta) * current if self.normalized else current)
        return self.pack((v,)), v

    def extra_repr(self) -> str:
        """Return what the representation shows."""
        return super().extra_repr() + (", normalized=True" if self.normalized else "")
