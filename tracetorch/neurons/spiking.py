"""What all membranes that spike share: integration, firing, reset, and their derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracetorch.neurons.arguments import refractory_of, reset_of, switch
from tracetorch.neurons.base import Neuron
from tracetorch.neurons.decays import Decay, Value, set_decay
from tracetorch.neurons.resets import HardReset, NoReset, Reset, SoftReset
from tracetorch.neurons.scalar import Scalar, scalar_surrogate
from tracetorch.neurons.surrogates import Surrogate
from tracetorch.ops.entries import Entry


@dataclass(frozen=True)
class Slopes:
    """Hold the derivatives of one membrane step, from which a neuron composes its blocks.

    Args:
        psi: `dz / dv`, the surrogate.
        leak: `dv / dv_{t-1}`.
        gain: `dv / d drive`.
        carry: total derivative of what the membrane carries on by `v`.
        spike: derivative of what the membrane carries on by its spike where the reset keeps it, else None.
        beta_v: `dv / dbeta`; None for zero.
        beta_carry: direct derivative of what the membrane carries on by `beta`; None for zero.
        theta_carry: derivative of what the membrane carries on by the threshold; None for zero.
    """

    psi: Tensor
    leak: Tensor
    gain: Tensor
    carry: Tensor
    spike: Entry
    beta_v: Entry
    beta_carry: Entry
    theta_carry: Entry


class Spiking(Neuron):
    """Integrate a drive into a membrane, fire above a threshold, reset.

    Args:
        threshold: `theta`, in the unit of the membrane; a number, a tensor per unit, or `Learnable`.
        surrogate: stand-in for the derivative of the spike; the arctangent's by default.
        reset: what a spike does to the membrane; soft and detached by default.
        refractory: number of silent steps after a spike.
        normalized: scale the drive by `1 - beta`.
        half_life: steps after which half of the membrane is left; a number, a tensor per unit, or `Learnable`. Give
            exactly one of `half_life`, `tau` and `beta`.
        tau: steps after which 1/e of the membrane is left.
        beta: decay of the membrane per step, in (0, 1).
    """

    beta: Tensor
    threshold: Tensor

    def __init__(  # noqa: PLR0913 - every option of the membrane by its name
        self,
        *,
        threshold: Value = 1.0,
        surrogate: Surrogate | None = None,
        reset: Reset | None = None,
        refractory: int = 0,
        normalized: bool = False,
        half_life: Value | None = None,
        tau: Value | None = None,
        beta: Value | None = None,
    ) -> None:
        super().__init__(threshold=threshold, surrogate=surrogate)
        self.reset = reset_of(reset)
        self.refractory = refractory_of(refractory)
        self.normalized = switch("normalized", normalized)
        if refractory:
            self.counters = ("r",)
        self.set_leak(Decay(half_life, tau, beta))

    def set_leak(self, decay: Decay) -> None:
        """Register the membrane's decay per step."""
        set_decay(self, "beta", decay, hint="; tt.IF has no leak")

    def integrate(self, v: Tensor, drive: Tensor) -> Tensor:
        """Return the membrane before it fires, from what it carried and its drive, `[..., *unit]`."""
        held = self.beta * v if self.reset.decayed else v
        return held + ((1 - self.beta) * drive if self.normalized else drive)

    def fire(self, distance: Tensor, s: Any) -> Tensor:
        """Return the spikes from the distance to the threshold; none where the neuron is refractory."""
        z = self.surrogate(distance)
        return z * (s.r <= 0).to(z.dtype) if self.refractory else z

    def carry(self, v: Tensor, z: Tensor) -> Tensor:
        """Return what the membrane carries to the next step after its spikes."""
        held = v if self.reset.decayed else self.beta * v
        return self.reset.apply(held, z if self.reset.gradient else z.detach(), self.threshold)

    def count(self, s: Any, z: Tensor) -> tuple[Tensor, ...]:
        """Return the refractory counter after the step, as a tuple of none or one tensor."""
        if not self.refractory:
            return ()
        return ((s.r - 1).clamp(min=0) + self.refractory * z.detach(),)

    def slopes(
        self,
        s: tuple[Tensor, ...],
        v: Tensor,
        drive: Tensor,
        *,
        distance: Tensor,
        params: Mapping[str, Tensor],
    ) -> Slopes:
        """Return the derivatives of one membrane step.

        Args:
            s: what the membrane carried, then the refractory counter if there is one.
            v: the membrane before it fires, `[T, B, *unit]`.
            drive: its drive, `[T, B, *unit]`.
            distance: the distance to the threshold, `[T, B, *unit]`.
            params: values of the learned parameters by name.

        Returns:
            The derivatives.
        """
        beta, threshold = params.get("beta", self.beta), params.get("threshold", self.threshold)
        psi = self.surrogate.derivative(distance)
        z = (distance > 0).to(v.dtype)
        if self.refractory:
            free = (s[-1] <= 0).to(v.dtype)
            psi, z = psi * free, z * free
        one = torch.ones_like(beta)
        decayed = self.reset.decayed
        by_held, by_z, by_theta = self.reset.slopes(v if decayed else beta * v, z, threshold)
        held = one if decayed else beta
        carry = held if by_held is None else by_held * held
        spike = by_z if self.reset.gradient else None
        if spike is not None:
            carry = carry + spike * psi
        beta_v = s[0] if decayed else None
        if self.normalized:
            beta_v = -drive if beta_v is None else beta_v - drive
        beta_carry = None if decayed else (v if by_held is None else by_held * v)
        if spike is not None:
            by_theta = -spike * psi if by_theta is None else by_theta - spike * psi
        gain = 1 - beta if self.normalized else one
        return Slopes(psi, beta if decayed else one, gain, carry, spike, beta_v, beta_carry, by_theta)

    def linear_decay(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return leak, gain and hold, `[1]` each, where they are shared and a reset leaves them constant."""
        beta = self.beta.detach()
        if beta.numel() > 1 or self.reset.slopes(beta, beta, beta)[0] is not None:
            return None
        beta = beta.reshape(1)
        one = torch.ones_like(beta)
        gain = 1 - beta if self.normalized else one
        return (beta, gain, one) if self.reset.decayed else (one, gain, beta)

    def spiking_scalar(self, step: str, parameters: tuple[str, ...]) -> Scalar | None:
        """Return the named step of `steps` with this membrane's reset and surrogate; see `Neuron.scalar`."""
        found = scalar_surrogate(self.surrogate)
        if found is None or type(self.reset) not in (SoftReset, HardReset, NoReset):
            return None
        surrogate, numbers = found
        value = self.reset.value if isinstance(self.reset, HardReset) else 0.0
        flags = {
            "NORMALIZED": self.normalized,
            "DECAYED": self.reset.decayed,
            "GRADIENT": self.reset.gradient,
            "SOFT": type(self.reset) is SoftReset,
            "HARD": type(self.reset) is HardReset,
            "REFRACTORY": self.refractory > 0,
        }
        numbers |= {"VALUE": value, "SILENT": float(self.refractory)}
        return Scalar(step, len(self.state), parameters, numbers, flags, {"surrogate": surrogate})

    def extra_repr(self) -> str:
        """Return what the representation shows."""
        parts = f"{super().extra_repr()}, reset={self.reset}, surrogate={self.surrogate}"
        options = {"refractory": self.refractory, "normalized": self.normalized}
        return parts + "".join(f", {name}={value}" for name, value in options.items() if value)


def total(direct: Entry, factor: Entry, value: Entry) -> Entry:
    """Return `direct + factor * value`, where None is zero."""
    if factor is None or value is None:
        return direct
    return factor * value if direct is None else direct + factor * value
