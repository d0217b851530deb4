"""The recurrent trace unit: a pair of real states that turns, decays, and passes a nonlinearity at each step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tracetorch.neurons.rotating import Rotating


class RTU(Rotating):
    r"""Turn a pair of states, drive each by its own current, and squash both.

    .. math::
        c_t &= \tanh\big(\beta\, (\cos\alpha\, c_{t-1} - \sin\alpha\, d_{t-1}) + k\, I^{re}_t\big) \\
        d_t &= \tanh\big(\beta\, (\sin\alpha\, c_{t-1} + \cos\alpha\, d_{t-1}) + k\, I^{im}_t\big), \qquad
        z_t = c_t, \qquad k = \sqrt{1 - \beta^2}

    The nonlinear unit of the paper, with its tanh; the linear one, whose nonlinearity follows the recurrence, is
    `tt.LRU` under such a module. It takes two currents per unit, so for N units its synapse is
    `nn.Linear(n_in, 2 * N)`: the rows of c first, then those of d. The paper outputs both states; since tanh is odd,
    a unit whose rows are those of d and, with their sign turned, those of c gives :math:`d_t`, so that N units of the
    paper are 2 N of these. A full eligibility is exact within the layer.

    Args:
        shape: the units' shape.
        r_min: least radius of the ring from which `beta` and `angle` are drawn, 0 or more.
        r_max: its greatest radius, at most 1.
        max_phase: greatest angle per step, radians.

    Raises:
        ValueError: if the ring is not inside the unit circle, or the greatest angle is not above 0.

    Source: E. Elelimy, A. White, M. Bowling, M. White, "Real-Time Recurrent Learning using Trace Units in Reinforcement
    Learning" (2024), https://arxiv.org/abs/2409.01449.

    Example:
        >>> import torch, tracetorch as tt
        >>> layer = tt.Layer(torch.nn.Linear(3, 2 * 4), tt.RTU(4), rule=tt.rules.drtrl())
        >>> layer(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    def step(self, s: Any, current: Any) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        (c, d), k = self.turned(s), self.scale()
        c, d = torch.tanh(c + k * current.re), torch.tanh(d + k * current.im)
        return self.pack((c, d)), c
