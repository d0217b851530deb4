"""The current-based neuron: a synaptic current with a decay of its own before the membrane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tracetorch.neurons.base import Constant
from tracetorch.neurons.blocks import Blocks
from tracetorch.neurons.decays import Decay, Value, set_decay
from tracetorch.neurons.lif import _resets_nothing
from tracetorch.neurons.resets import Reset
from tracetorch.neurons.scalar import Scalar
from tracetorch.neurons.spiking import Spiking, total
from tracetorch.neurons.surrogates import Surrogate
from tracetorch.ops.entries import Entry


class SynapticLIF(Spiking):
    r"""Let the input decay as a current before it charges the membrane.

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

    def blocks(self, s: tuple[Tensor, ...], current: Tensor, params: Mapping[str, Tensor]) -> Blocks:
        """Return the Jacobian blocks in closed form; see `Neuron.blocks`."""
        i = self._current(s[0], current)
        v = self.integrate(s[1], i)
        k = self.slopes((s[1], *s[2:]), v, i, distance=v - self.threshold, params=params)
        alpha = self.alpha
        entry = 1 - alpha if self.normalized else torch.ones_like(alpha)
        v_by_i, z_by_i = total(None, k.carry, k.gain), k.psi * k.gain
        P: dict[str, list[Entry]] = {}
        Q: dict[str, Entry] = {}
        if "alpha" in params:
            slope = s[0] - current if self.normalized else s[0]
            P["alpha"], Q["alpha"] = [slope, total(None, v_by_i, slope)], z_by_i * slope
        if "beta" in params:
            P["beta"] = [None, total(k.beta_carry, k.carry, k.beta_v)]
            Q["beta"] = total(None, k.psi, k.beta_v)
        if "threshold" in params:
            P["threshold"], Q["threshold"] = [None, k.theta_carry], -k.psi
        A = [[alpha, None], [total(None, v_by_i, alpha), total(None, k.carry, k.leak)]]
        B = [entry, total(None, v_by_i, entry)]
        return Blocks(A, B, [z_by_i * alpha, k.psi * k.leak], z_by_i * entry, P, Q)

    def scalar(self) -> Scalar | None:
        """Return the step on plain numbers; see `Neuron.scalar`."""
        return self.spiking_scalar("synaptic", ("beta", "threshold", "alpha"))

    def constant(self, unit: tuple[int, ...], *, detach_reset: bool = False) -> Constant | None:
        """Return A and B where both decays are shared and the reset is soft or none; see `Neuron.constant`."""
        if self.reset.gradient and not detach_reset and not _resets_nothing(self.reset):
            return None
        parts, alpha = self.linear_decay(), self.alpha.detach()
        if parts is None or alpha.numel() > 1:
            return None
        leak, gain, hold = parts
        alpha = alpha.reshape(1)
        entry = 1 - alpha if self.normalized else torch.ones_like(alpha)
        low = torch.cat([hold * gain * alpha, leak * hold])
        return torch.stack([torch.cat([alpha, torch.zeros_like(alpha)]), low]), torch.cat([entry, hold * gain * entry])
