"""The balanced resonate-and-fire neuron: an oscillator that fires, and that a spike damps for a while."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tracetorch.neurons.base import Neuron
from tracetorch.neurons.decays import Learnable, Value, set_positive
from tracetorch.neurons.surrogates import Surrogate

REFRACTORY = 0.9
"""Decay per step of the refractory variable."""


class BRF(Neuron):
    r"""Oscillate at its own frequency, fire, and be damped by the spikes.

    .. math::
        x_t &= x_{t-1} + \delta\, (b_t x_{t-1} - \omega y_{t-1} + I_t), \qquad
        y_t = y_{t-1} + \delta\, (\omega x_{t-1} + b_t y_{t-1}) \\
        z_t &= [x_t > \theta + q_t], \qquad q_t = 0.9\, q_{t-1} + z_{t-1} \\
        b_t &= p(\omega) - b' - q_t, \qquad p(\omega) = \frac{-1 + \sqrt{1 - (\delta \omega)^2}}{\delta}

    A spike sets nothing back: `q` raises the threshold and the damping for some steps, and at the boundary `p` the
    oscillation neither grows nor decays in the discrete steps. `omega` and `offset`, the `b'`, are learned, one for
    each unit; their first values are uniform between the bounds that are given. The state holds `0.9 q_t + z_t`, what
    the next step starts from.

    Args:
        shape: the units' shape.
        omega: bounds of the first angular frequencies, radians per unit of time; `dt` times the greatest is below 1,
            and must stay so.
        offset: bounds of the first `b'`, per unit of time.
        dt: `delta`, length of a step in the unit of time.
        threshold: `theta`, in the unit of the membrane; a number, a tensor per unit, or `Learnable`.
        surrogate: stand-in for the derivative of the spike; `ATan()` by default. The paper has a sum of Gaussians.

    Raises:
        ValueError: if a bound or `dt` is out of range.

    Source: S. Higuchi, S. Kairat, S. M. Bohté, S. Otte, "Balanced Resonate-and-Fire Neurons" (2024),
    https://arxiv.org/abs/2402.14603.

    Example:
        >>> import torch, tracetorch as tt
        >>> layer = tt.Layer(torch.nn.Linear(3, 4), tt.BRF(4, omega=(15.0, 50.0), offset=(0.1, 1.0)))
        >>> layer(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    state = ("x", "y", "q")
    omega: Tensor
    offset: Tensor

    def __init__(
        self,
        shape: tuple[int, ...] | int,
        *,
        omega: tuple[float, float] = (5.0, 10.0),
        offset: tuple[float, float] = (2.0, 3.0),
        dt: float = 0.01,
        threshold: Value = 1.0,
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__(threshold=threshold, surrogate=surrogate)
        for name, (low, high) in (("omega", omega), ("offset", offset)):
            if not 0 < low <= high:
                raise ValueError(f"{name} is a pair of bounds above 0, the lower one first, got {(low, high)!r}")
        if not (dt > 0 and dt * omega[1] < 1):
            raise ValueError(f"dt is above 0, and dt times the greatest omega below 1, got dt={dt!r}, omega={omega!r}")
        self.dt = float(dt)
        unit = (shape,) if isinstance(shape, int) else tuple(shape)
        set_positive(self, "omega", Learnable(torch.empty(unit).uniform_(*omega)))
        set_positive(self, "offset", Learnable(torch.empty(unit).uniform_(*offset)))

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        dt, turn = self.dt, self.dt * self.omega
        damp = torch.sqrt(1 - turn * turn) - dt * (self.offset + s.q)  # 1 + dt b
        x = damp * s.x - turn * s.y + dt * current
        y = turn * s.x + damp * s.y
        z = self.surrogate(x - self.threshold - s.q)
        return self.pack((x, y, REFRACTORY * s.q + z)), z
