"""What recurrent units with a complex state share: a decay and an angle per step, drawn on a ring."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.neurons.base import Neuron
from tracetorch.neurons.decays import Decay, Learnable, set_decay, set_positive

NEAREST = 1e-5
"""Least distance of a drawn decay from 0 and from 1, in which single precision still holds a half-life to 1 %."""


class Rotating(Neuron):
    r"""Turn and shrink a complex state at each step: :math:`\lambda = \beta e^{i \alpha}`, one for each unit.

    `beta` and `angle` are learned, as the logit of the one and the inverse softplus of the other; near the unit circle
    and for small angles these are the logarithms that the papers learn. Their first values are uniform on the ring
    between two radii, up to an angle.

    Args:
        shape: the units' shape.
        r_min: least radius of the ring, 0 or more.
        r_max: its greatest radius, at most 1.
        max_phase: greatest angle per step, radians.

    Raises:
        ValueError: if the ring is not inside the unit circle, or the greatest angle is not above 0.
    """

    state = ("re", "im")
    currents = ("re", "im")
    beta: Tensor
    angle: Tensor

    def __init__(
        self,
        shape: tuple[int, ...] | int,
        *,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
    ) -> None:
        nn.Module.__init__(self)
        if not 0 <= r_min < r_max <= 1:
            raise ValueError(f"a ring has 0 <= r_min < r_max <= 1, got r_min={r_min!r}, r_max={r_max!r}")
        if not 0 < max_phase < math.inf:
            raise ValueError(f"max_phase is an angle above 0, in radians, got {max_phase!r}")
        unit = (shape,) if isinstance(shape, int) else tuple(shape)
        area, turn = torch.rand(2, *unit, dtype=torch.float64)
        radius = (area * (r_max**2 - r_min**2) + r_min**2).sqrt().clamp(NEAREST, 1 - NEAREST)
        kind = torch.get_default_dtype()
        set_decay(self, "beta", Decay(beta=Learnable(radius.to(kind))))
        set_positive(self, "angle", Learnable((turn * max_phase).clamp(min=NEAREST).to(kind)))

    def scale(self) -> Tensor:
        r"""Return :math:`\sqrt{1 - \beta^2}`, which makes the state's variance that of a white input, `[*unit]`."""
        return torch.sqrt((1 - self.beta) * (1 + self.beta))

    def turned(self, s: Any) -> tuple[Tensor, Tensor]:
        """Return the real and imaginary part of `lambda` times the state."""
        x, y = self.beta * torch.cos(self.angle), self.beta * torch.sin(self.angle)
        return x * s.re - y * s.im, y * s.re + x * s.im
