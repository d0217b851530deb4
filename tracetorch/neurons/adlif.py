"""The adaptive neuron whose adaptation is a current: adLIF, discretized by the symplectic Euler method."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tracetorch.neurons.decays import Decay, Value, set_decay, set_value
from tracetorch.neurons.resets import HardReset, Reset
from tracetorch.neurons.spiking import Spiking
from tracetorch.neurons.surrogates import Surrogate


class SEAdLIF(Spiking):
    r"""Leaky integrate-and-fire neuron with an adaptation current that follows the membrane and its spikes.

    .. math::
        \hat u_t &= \beta\, u_{t-1} + (1 - \beta)\, (I_t - w_{t-1}), \qquad z_t = [\hat u_t > \theta] \\
        u_t &= (1 - z_t)\, \hat u_t, \qquad
        w_t = \rho\, w_{t-1} + (1 - \rho)\, (a\, u_t + b\, z_t)

    The adaptation takes the *new* membrane, which is what makes the Euler steps symplectic: while it oscillates, the
    pair shrinks by :math:`\sqrt{\beta \rho}` per step whatever `a` is, where plain Euler steps grow for a large one. In
    the paper `a` lies in [0, 120], `b` in [0, 240], `tau` in [5, 25] steps and `adaptation_tau` in [60, 300] steps, all
    of them learned, one for each unit.

    Args:
        threshold: `theta`, in the unit of the membrane; a number, a tensor per unit, or `Learnable`.
        surrogate: stand-in for the derivative of the spike; `ATan()` by default.
        reset: what a spike does to the membrane; `HardReset()` by default, with its gradient detached.
        refractory: number of silent steps after a spike.
        a: how strongly the adaptation follows the membrane; a number, a tensor per unit, or `Learnable`.
        b: how strongly it follows the spikes, in the unit of the membrane.
        half_life: steps after which half of the membrane is left; a number, a tensor per unit, or `Learnable`. Give
            exactly one of `half_life`, `tau` and `beta`.
        tau: steps after which 1/e of the membrane is left.
        beta: decay of the membrane per step, in (0, 1).
        adaptation_half_life: steps after which half of the adaptation is left; give exactly one of the three.
        adaptation_tau: steps after which 1/e of the adaptation is left.
        adaptation_beta: decay of the adaptation per step, in (0, 1).

    Raises:
        ValueError: if not exactly one decay of each kind is given, a value is out of range, or the reset follows the
            decay.

    Source: M. Baronig, R. Ferrand, S. Sabathiel, R. Legenstein, "Advancing spatio-temporal processing in spiking neural
    networks through adaptation" (2024), https://arxiv.org/abs/2408.07517.

    Example:
        >>> import torch, tracetorch as tt
        >>> tau = tt.Learnable(torch.empty(4).uniform_(5, 25))
        >>> neuron = tt.SEAdLIF(tau=tau, adaptation_tau=100, a=tt.Learnable(60.0), b=tt.Learnable(120.0))
        >>> tt.Layer(torch.nn.Linear(3, 4), neuron)(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    state = ("u", "w")
    rho: Tensor
    a: Tensor
    b: Tensor

    def __init__(  # noqa: PLR0913 - every option of the membrane and of its adaptation by its name
        self,
        *,
        threshold: Value = 1.0,
        surrogate: Surrogate | None = None,
        reset: Reset | None = None,
        refractory: int = 0,
        a: Value = 60.0,
        b: Value = 120.0,
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
            reset=HardReset() if reset is None else reset,
            refractory=refractory,
            normalized=True,
            half_life=half_life,
            tau=tau,
            beta=beta,
        )
        if not self.reset.decayed:
            raise ValueError(f"the adaptation follows the membrane after its reset, before its decay, got {reset!r}")
        slow = Decay(adaptation_half_life, adaptation_tau, adaptation_beta)
        set_decay(self, "rho", slow, prefix="adaptation_", hint="; tt.LIF has no adaptation")
        set_value(self, "a", a)
        set_value(self, "b", b)

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        v = self.integrate(s.u, current - s.w)
        z = self.fire(v - self.threshold, s)
        u = self.carry(v, z)
        w = self.rho * s.w + (1 - self.rho) * (self.a * u + self.b * z)
        return self.pack((u, w, *self.count(s, z))), z
