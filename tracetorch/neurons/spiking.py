"""What all membranes that spike share: integration, firing and reset."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tracetorch.neurons.arguments import refractory_of, reset_of, switch
from tracetorch.neurons.base import Neuron
from tracetorch.neurons.decays import Decay, Value, set_decay
from tracetorch.neurons.resets import Reset
from tracetorch.neurons.surrogates import Surrogate


class Spiking(Neuron):
    """A membrane that integrates a current, fires above a threshold, and is reset.

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
        remaining = self.beta * v if self.reset.decayed else v
        return remaining + ((1 - self.beta) * drive if self.normalized else drive)

    def fire(self, distance: Tensor, s: Any) -> Tensor:
        """Return the spikes from the distance to the threshold; none where the neuron is refractory."""
        z = self.surrogate(distance)
        return z * (s.r <= 0).to(z.dtype) if self.refractory else z

    def carry(self, v: Tensor, z: Tensor) -> Tensor:
        """Return what the membrane carries to the next step after its spikes."""
        remaining = v if self.reset.decayed else self.beta * v
        return self.reset.apply(remaining, z if self.reset.gradient else z.detach(), self.threshold)

    def count(self, s: Any, z: Tensor) -> tuple[Tensor, ...]:
        """Return the refractory counter after the step, as a tuple of none or one tensor."""
        if not self.refractory:
            return ()
        return ((s.r - 1).clamp(min=0) + self.refractory * z.detach(),)

    def extra_repr(self) -> str:
        """Return what the representation shows."""
        parts = f"{super().extra_repr()}, reset={self.reset}, surrogate={self.surrogate}"
        options = {"refractory": self.refractory, "normalized": self.normalized}
        return parts + "".join(f", {name}={value}" for name, value in options.items() if value)
