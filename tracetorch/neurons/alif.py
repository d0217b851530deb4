"""The adaptive neuron: each spike raises its own threshold for a while."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tracetorch.neurons.decays import Decay, Value, set_decay, set_value
from tracetorch.neurons.resets import Reset
from tracetorch.neurons.spiking import Spiking
from tracetorch.neurons.surrogates import Surrogate


class ALIF(Spiking):
    r"""Leaky integrate-and-fire neuron with a threshold that each spike raises.

    .. math::
        v_t &= \beta\,(v_{t-1} - \theta z_{t-1}) + k I_t, \qquad a_t = \rho\, a_{t-1} + z_{t-1} \\
        z_t &= [v_t > \theta + b\, a_t]

    The state is `rho a_t + z_t`, from which the next step starts.

    Args:
        threshold: `theta`, in the unit of the membrane; a number, a tensor per unit, or `Learnable`.
        surrogate: stand-in for the derivative of the spike; `ATan()` by default.
        reset: what a spike does to the membrane; `SoftReset()` by default. The adaptation always keeps its gradient.
        refractory: number of silent steps after a spike.
        normalized: scale the input by `1 - beta`.
        adaptation: `b`, how far one spike raises the threshold; a number, a tensor per unit, or `Learnable`.
        half_life: steps after which half of the membrane is left; a number, a tensor per unit, or `Learnable`. Give
            exactly one of `half_life`, `tau` and `beta`.
        tau: steps after which 1/e of the membrane is left.
        beta: decay of the membrane per step, in (0, 1).
        adaptation_half_life: steps after which half of the adaptation is left; give exactly one of the three.
        adaptation_tau: steps after which 1/e of the adaptation is left.
        adaptation_beta: decay of the adaptation per step, in (0, 1).

    Raises:
        ValueError: if not exactly one decay of each kind is given, or a value is out of range.

    Source: G. Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking neurons" (2020),
    https://doi.org/10.1038/s41467-020-17236-y.

    Example:
        >>> import torch, tracetorch as tt
        >>> neuron = tt.ALIF(half_life=10, adaptation_half_life=100, adaptation=0.2)
        >>> tt.Layer(torch.nn.Linear(3, 4), neuron)(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    state = ("v", "a")
    rho: Tensor
    adaptation: Tensor

    def __init__(  # noqa: PLR0913 - every option of the membrane and of its adaptation by its name
        self,
        *,
        threshold: Value = 1.0,
        surrogate: Surrogate | None = None,
        reset: Reset | None = None,
        refractory: int = 0,
        normalized: bool = False,
        adaptation: Value = 0.1,
        half_life: Value | None = None,
        tau: Value | None = None,
        beta: Value | None = None,
        adaptation_half_life: Value | None = None,
        adaptation_tau: Value | None = None,
        adaptation_beta: Value | None = None,
    ) -> None:
        super().__init__(
            threshold=threshold,
            surrogate=surrogate,
            reset=reset,
            refractory=refractory,
            normalized=normalized,
            half_life=half_life,
            tau=tau,
            beta=beta,
        )
        slow = Decay(adaptation_half_life, adaptation_tau, adaptation_beta)
        set_decay(self, "rho", slow, prefix="adaptation_", hint="; tt.LIF has no adaptation")
        set_value(self, "adaptation", adaptation)

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        v = self.integrate(s.v, current)
        z = self.fire(v - self.threshold - self.adaptation * s.a, s)
        return self.pack((self.carry(v, z), self.rho * s.a + z, *self.count(s, z))), z
