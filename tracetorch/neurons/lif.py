"""The leaky integrate-and-fire neuron, and the one without a leak."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tracetorch.neurons.decays import Decay, Value
from tracetorch.neurons.resets import Reset
from tracetorch.neurons.spiking import Spiking
from tracetorch.neurons.surrogates import Surrogate


class LIF(Spiking):
    r"""Leaky integrate-and-fire neuron.

    .. math::
        v_t = \beta\,(v_{t-1} - \theta z_{t-1}) + k I_t, \qquad z_t = [v_t > \theta], \qquad k = 1 \text{ or } 1-\beta

    Args:
        threshold: `theta`, in the unit of the membrane; a number, a tensor per unit, or `Learnable`.
        surrogate: stand-in for the derivative of the spike; `ATan()` by default.
        reset: what a spike does to the membrane; `SoftReset()` by default, with its gradient detached.
        refractory: number of silent steps after a spike.
        normalized: scale the input by `1 - beta`.
        half_life: steps after which half of the membrane is left; a number, a tensor per unit, or `Learnable`. Give
            exactly one of `half_life`, `tau` and `beta`.
        tau: steps after which 1/e of the membrane is left.
        beta: decay of the membrane per step, in (0, 1).

    Raises:
        ValueError: if not exactly one decay is given, or a value is out of range.

    Source: L. Lapicque, "Recherches quantitatives sur l'excitation électrique des nerfs traitée comme une polarisation"
    (1907); translated by N. Brunel, M. van Rossum (2007), https://doi.org/10.1007/s00422-007-0189-6.

    Example:
        >>> import torch, tracetorch as tt
        >>> layer = tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=20))
        >>> tt.scan(layer, torch.rand(100, 2, 3)).shape
        torch.Size([100, 2, 4])

        By hand, with a current of 0.4 at each step:

        >>> neuron, current = tt.LIF(half_life=20), torch.full((1, 1), 0.4)
        >>> s, spikes = neuron.pack(neuron.zeros(current)), []
        >>> for _ in range(6):
        ...     s, z = neuron.step(s, current)
        ...     spikes.append(int(z))
        >>> spikes
        [0, 0, 1, 0, 0, 1]
    """

    state = ("v",)

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        v = self.integrate(s.v, current)
        z = self.fire(v - self.threshold, s)
        return self.pack((self.carry(v, z), *self.count(s, z))), z


class IF(LIF):
    r"""Integrate-and-fire neuron without a leak: `LIF` with `beta = 1`.

    .. math:: v_t = v_{t-1} - \theta z_{t-1} + I_t, \qquad z_t = [v_t > \theta]

    Args:
        threshold: `theta`, in the unit of the membrane; a number, a tensor per unit, or `Learnable`.
        surrogate: stand-in for the derivative of the spike; `ATan()` by default.
        reset: what a spike does to the membrane; `SoftReset()` by default.
        refractory: number of silent steps after a spike.

    Raises:
        ValueError: if a value is out of range.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.Layer(torch.nn.Linear(3, 4), tt.IF())(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        *,
        threshold: Value = 1.0,
        surrogate: Surrogate | None = None,
        reset: Reset | None = None,
        refractory: int = 0,
    ) -> None:
        super().__init__(threshold=threshold, surrogate=surrogate, reset=reset, refractory=refractory)

    def set_leak(self, decay: Decay) -> None:
        """Register a decay of one, which is no part of the saved state."""
        self.register_buffer("beta", torch.ones_like(self.threshold.detach().reshape(-1)[0]), persistent=False)
