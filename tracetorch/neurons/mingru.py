"""The minimal gated recurrent unit: a leaky integrator whose leak is its input's to set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.neurons.base import Neuron


class MinGRU(Neuron):
    r"""Replace a share of the state by a candidate, as far as a gate is open.

    .. math:: h_t = (1 - g_t)\, h_{t-1} + g_t\, I^{candidate}_t, \qquad g_t = \sigma(I^{gate}_t), \qquad z_t = h_t

    It takes two currents per unit, so for N units its synapse is `nn.Linear(n_in, 2 * N)`: the rows of the candidates
    first, then those of the gates. Neither looks at the state, so that no unit depends on another, and a full
    eligibility is exact within the layer. The unit has no parameters: a gate's bias is its first time constant,
    :math:`\sigma(-3)` about 20 steps.

    Source: L. Feng, F. Tung, M. O. Ahmed, Y. Bengio, H. Hajimirsadeghi, "Were RNNs All We Needed?" (2024),
    https://arxiv.org/abs/2410.01201.

    Example:
        >>> import torch, tracetorch as tt
        >>> layer = tt.Layer(torch.nn.Linear(3, 2 * 4), tt.MinGRU(), rule=tt.rules.drtrl())
        >>> layer(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    state = ("h",)
    currents = ("candidate", "gate")

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def step(self, s: Any, current: Any) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        gate = torch.sigmoid(current.gate)
        h = (1 - gate) * s.h + gate * current.candidate
        return self.pack((h,)), h
