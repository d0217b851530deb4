"""The linear recurrent unit: a complex state that turns and decays, of which the real part is the output."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from tracetorch.neurons.decays import Learnable, set_positive
from tracetorch.neurons.rotating import Rotating


class LRU(Rotating):
    r"""Linear recurrent unit: a complex decay, of which the real part is the output.

    .. math::
        h_t = \lambda\, h_{t-1} + \gamma\, (I^{re}_t + i\, I^{im}_t), \qquad z_t = \mathrm{Re}\, h_t, \qquad
        \lambda = \beta e^{i \alpha}

    It takes two currents per unit, so for N units its synapse is `nn.Linear(n_in, 2 * N)`: the rows of the real parts
    first, then those of the imaginary ones, together the paper's complex B. `beta`, `angle` and the gain `gamma`, at
    first :math:`\sqrt{1 - \beta^2}`, are learned. A nonlinearity follows as a separate module. The paper reads
    :math:`\mathrm{Re}(C h)` with a complex C; here C is the next layer's weight, which is real, and a unit whose input
    weights are those of another times :math:`-i` gives the imaginary part, so that N units of the paper are at most 2 N
    of these.

    Since no unit depends on another, a full eligibility is exact within the layer and costs one number per state and
    weight (`tt.rules.drtrl()`, `eprop()`, `traced_bptt()`).

    Args:
        shape: the units' shape.
        r_min: least radius of the ring from which :math:`\lambda` is drawn, 0 or more; near 1 for a long memory.
        r_max: its greatest radius, at most 1.
        max_phase: greatest angle per step, radians; smaller for a long memory.

    Raises:
        ValueError: if the ring is not inside the unit circle, or the greatest angle is not above 0.

    Source: A. Orvieto, S. L. Smith, A. Gu, A. Fernando, C. Gulcehre, R. Pascanu, S. De, "Resurrecting Recurrent Neural
    Networks for Long Sequences" (2023), https://arxiv.org/abs/2303.06349; learned online in N. Zucchet, R. Meier,
    S. Schug, A. Mujika, J. Sacramento, "Online learning of long-range dependencies" (2023),
    https://arxiv.org/abs/2305.15947.

    Example:
        >>> import torch, tracetorch as tt
        >>> layer = tt.Layer(torch.nn.Linear(3, 2 * 4), tt.LRU(4, r_min=0.9), rule=tt.rules.drtrl())
        >>> layer(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    gain: Tensor

    def __init__(
        self,
        shape: tuple[int, ...] | int,
        *,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
    ) -> None:
        super().__init__(shape, r_min=r_min, r_max=r_max, max_phase=max_phase)
        set_positive(self, "gain", Learnable(self.scale().detach()))

    def step(self, s: Any, current: Any) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        re, im = self.turned(s)
        re = re + self.gain * current.re
        return self.pack((re, im + self.gain * current.im)), re
