"""The current-based neuron: a synaptic current with a decay of its own before the membrane."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tracetorch.neurons.decays import Decay, Value, set_decay
from tracetorch.neurons.resets import Reset
from tracetorch.neurons.spiking import Spiking
from tracetorch.neurons.surrogates import Surrogate


class SynapticLIF(Spiking):
    r"""Current-based neuron: the input decays as a current before it charges the membrane.

    .. math::
        i_t &= \alpha\, i_{t-1} + k_i I_t \\
        v_t &= \beta\,(v_{t-1} - \theta z_{t-1}) + k_v i_t, \qquad z_t = [v_t > \theta]

    Args:
        threshold: `theta`, in the unit of the membrane; a number, a tensor per unit, or `Learnable`.
        surrogate: stand-in for the derivative of the spike; `ATan()` by default.
        reset: what a spike does to the membrane; `SoftReset()` by default.
        refractory: number of silent steps after a spike.
        normalized: scale by `k_i = 1 - alpha` and `k_v = 1 - beta`; both are 1 otherwise.
        half_life: steps after which half of the membrane is left; a number, a tensor per unit, or `Learnable`. Give
            exactly one of `half_life`, `tau` and `beta`.
        tau: steps after which 1/e of the membrane is left.
        beta: decay of the membrane per step, in (0, 1).
        synaptic_half_life: steps after which half of the synaptic current is left; give exactly one of the three.
        synaptic_tau: steps after which 1/e of the synaptic current is left.
        synaptic_beta: decay of the synaptic current per step, in (0, 1).

    Raises:
        ValueError: if not exactly one decay of each kind is given, or a value is out of range.

    Source: W. Gerstner et al., "Neuronal Dynamics" (2014), section 1.3, https://neuronaldynamics.epfl.ch.

    Example:
        >>> import torch, tracetorch as tt
        >>> neuron = tt.SynapticLIF(half_life=10, synaptic_half_life=3)
        >>> tt.Layer(torch.nn.Linear(3, 4), neuron)(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    state = ("i", "v")
    alpha: Tensor

    def __init__(  # noqa: PLR0913 - every option of the membrane and of its current by its name
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
        synaptic_half_life: Value | None = None,
        synaptic_tau: Value | None = None,
        synaptic_beta: Value | None = None,
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
        current = Decay(synaptic_half_life, synaptic_tau, synaptic_beta)
        set_decay(self, "alpha", current, prefix="synaptic_", hint="; tt.LIF has no synaptic current")

    def _current(self, i: Tensor, drive: Tensor) -> Tensor:
        return self.alpha * i + ((1 - self.alpha) * drive if self.normalized else drive)

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        i = self._current(s.i, current)
        v = self.integrate(s.v, i)
        z = self.fire(v - self.threshold, s)
        return self.pack((i, self.carry(v, z), *self.count(s, z))), z
