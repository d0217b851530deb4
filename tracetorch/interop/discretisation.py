"""From time constants to decays per step, and back: NIR states differential equations and no time step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Discretisation(ABC):
    r"""How :math:`\tau \dot v = -v + r I` becomes :math:`v_t = \beta v_{t-1} + (1-\beta)\, r I_t`.

    Args:
        dt: length of a time step, in the unit of the graph's time constants (seconds, by NIR's convention).

    Raises:
        ValueError: if `dt` is not above zero.

    Example:
        >>> import numpy as np, tracetorch as tt
        >>> for rule in (tt.interop.Euler(1e-3), tt.interop.Exponential(1e-3)):
        ...     print(f"{rule.decay(np.array(1e-2)):.3f}")
        0.900
        0.905
    """

    dt: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.dt < float("inf"):
            raise ValueError(f"dt must be a positive number in the unit of the time constants, got {self.dt!r}")

    @abstractmethod
    def decay(self, tau: Array) -> Array:
        """Return the decay per step of time constants.

        Args:
            tau: time constants, of any shape, in the unit of `dt`.

        Returns:
            Decays, same shape.
        """

    @abstractmethod
    def time_constant(self, beta: Array) -> Array:
        """Return the time constants of decays per step.

        Args:
            beta: decays per step, of any shape, in (0, 1).

        Returns:
            Time constants, same shape, in the unit of `dt`.
        """


@dataclass(frozen=True)
class Euler(Discretisation):
    r"""Forward Euler, as snnTorch and Norse compute: :math:`\beta = 1 - dt / \tau`.

    Args:
        dt: length of a time step, in the unit of the graph's time constants. snnTorch writes and reads 1e-4, the
            default; Norse's own default is 1e-3.

    Example:
        >>> import numpy as np, tracetorch as tt
        >>> float(tt.interop.Euler(1e-3).decay(np.array(1e-2)))
        0.9
    """

    def decay(self, tau: Array) -> Array:
        """Return `1 - dt / tau`."""
        return 1 - self.dt / tau

    def time_constant(self, beta: Array) -> Array:
        """Return `dt / (1 - beta)`."""
        return self.dt / (1 - beta)


@dataclass(frozen=True)
class Exponential(Discretisation):
    r"""The exact solution for a current that is constant within a step: :math:`\beta = e^{-dt / \tau}`.

    Args:
        dt: length of a time step, in the unit of the graph's time constants.

    Example:
        >>> import numpy as np, tracetorch as tt
        >>> round(float(tt.interop.Exponential(1e-3).decay(np.array(1e-2))), 4)
        0.9048
    """

    def decay(self, tau: Array) -> Array:
        """Return `exp(-dt / tau)`."""
        decay: Array = np.exp(-self.dt / tau)
        return decay

    def time_constant(self, beta: Array) -> Array:
        """Return `-dt / log(beta)`."""
        tau: Array = -self.dt / np.log(beta)
        return tau
