"""Resets: what a spike does to the membrane that fired it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Reset(ABC):
    """What a spike does to the membrane that fired it.

    Args:
        gradient: keep the derivative that runs through the spike into the reset; detached otherwise.
        decayed: reset before the decay, `v = beta (v - theta z) + I`, or after it, `v = beta v - theta z + I`.

    Example:
        >>> from dataclasses import dataclass
        >>> import torch, tracetorch as tt
        >>> from tracetorch.neurons import Reset
        >>> @dataclass(frozen=True)
        ... class Partial(Reset):
        ...     def apply(self, membrane, z, threshold):
        ...         return membrane - 0.5 * threshold * z
        >>> tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=5, reset=Partial()))(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    gradient: bool = False
    decayed: bool = True

    @abstractmethod
    def apply(self, membrane: Tensor, z: Tensor, threshold: Tensor) -> Tensor:
        """Return what the membrane carries on.

        Args:
            membrane: its value at the spike, `[..., *unit]`.
            z: the spikes, `[..., *unit]`.
            threshold: `theta`, `[]` or `[*unit]`.

        Returns:
            The membrane after the reset, `[..., *unit]`.
        """


@dataclass(frozen=True)
class SoftReset(Reset):
    r"""Reset that subtracts the threshold: :math:`v \leftarrow v - \theta z`.

    Args:
        gradient: keep the derivative that runs through the spike into the reset; detached by default.
        decayed: reset before the decay (default) or after it.

    Example:
        >>> import tracetorch as tt
        >>> tt.LIF(half_life=10, reset=tt.SoftReset(decayed=False)).reset
        SoftReset(gradient=False, decayed=False)
    """

    def apply(self, membrane: Tensor, z: Tensor, threshold: Tensor) -> Tensor:
        """Return `membrane - threshold * z`."""
        return membrane - threshold * z


@dataclass(frozen=True)
class HardReset(Reset):
    r"""Reset of the membrane to a value: :math:`v \leftarrow (1 - z) v + z\, v_r`.

    Args:
        gradient: keep the derivative that runs through the spike into the reset; detached by default.
        decayed: reset before the decay (default) or after it.
        value: `v_r`, in the unit of the membrane.

    Example:
        >>> import tracetorch as tt
        >>> tt.HardReset(value=0.1).value
        0.1
    """

    value: float = 0.0

    def apply(self, membrane: Tensor, z: Tensor, threshold: Tensor) -> Tensor:
        """Return `(1 - z) * membrane + z * value`."""
        return (1 - z) * membrane + self.value * z


@dataclass(frozen=True)
class NoReset(Reset):
    """No reset: the membrane goes on as if it had not fired.

    Args:
        gradient: without effect here.
        decayed: without effect here.

    Example:
        >>> import tracetorch as tt
        >>> tt.LIF(half_life=10, reset=tt.NoReset()).reset
        NoReset(gradient=False, decayed=True)
    """

    def apply(self, membrane: Tensor, z: Tensor, threshold: Tensor) -> Tensor:
        """Return the membrane as it is."""
        return membrane
