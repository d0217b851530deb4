"""Code numbers by the graded activity of units with overlapping tuning curves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class PopulationCode:
    r"""A row of units with bell-shaped tuning for each component, evenly placed over its range.

    .. math:: y_{ik} = \exp\!\Big(-\tfrac12 \big((x_i - c_{ik}) / w_i\big)^2\Big), \quad
        c_{ik} = l_i + k\,\Delta_i, \quad \Delta_i = \frac{h_i - l_i}{K - 1}, \quad w_i = \omega\,\Delta_i

    Values beyond the range are coded as its ends. The activities are currents; `tt.encoding.bernoulli` makes spikes
    of them.

    Args:
        low: lowest value of each component, in its unit, `[n]`.
        high: highest value of each component, `[n]`.
        units: number of units per component, K.
        width: width of a tuning curve in units of the distance between two, omega.

    Raises:
        ValueError: if a range is empty or infinite, or there are fewer than two units.

    Source: A. P. Georgopoulos, A. B. Schwartz, R. E. Kettner, "Neuronal population coding of movement direction"
    (1986), https://doi.org/10.1126/science.3749885.

    Example:
        >>> import torch
        >>> code = PopulationCode([-1.0], [1.0], units=3)
        >>> [round(y, 2) for y in code(torch.tensor([[-1.0]]))[0].tolist()]
        [1.0, 0.61, 0.14]
    """

    def __init__(self, low: Sequence[float], high: Sequence[float], *, units: int, width: float = 1.0) -> None:
        self.low = torch.as_tensor(low, dtype=torch.float64)
        self.high = torch.as_tensor(high, dtype=torch.float64)
        if units < 2 or width <= 0:
            raise ValueError(f"units must be at least 2 and width positive, got {units} and {width}")
        if not bool((torch.isfinite(self.low) & torch.isfinite(self.high) & (self.low < self.high)).all()):
            raise ValueError(f"each range must be finite and not empty, got {list(low)} to {list(high)}")
        self.units = units
        gap = (self.high - self.low) / (units - 1)
        self.centres = self.low[:, None] + gap[:, None] * torch.arange(units)
        self.widths = width * gap[:, None]

    def __call__(self, x: Tensor) -> Tensor:
        """Code values.

        Args:
            x: values, `[..., n]`, floating point.

        Returns:
            Activities in (0, 1], `[..., n * units]`, those of one component side by side.
        """
        if self.low.dtype != x.dtype or self.low.device != x.device:
            self.low, self.high, self.centres, self.widths = (
                t.to(x) for t in (self.low, self.high, self.centres, self.widths)
            )
        off = (torch.clamp(x, self.low, self.high).unsqueeze(-1) - self.centres) / self.widths
        return torch.exp(-0.5 * off.square()).flatten(-2)
