"""The adaptive neuron: each spike raises its own threshold for a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor
from torch.nn import Parameter
from typing_extensions import Unpack

from tracetorch.neurons.base import Constant
from tracetorch.neurons.blocks import Blocks
from tracetorch.neurons.decays import Decay, Learnable, Value, _register, _tensor, set_decay
from tracetorch.neurons.resets import Reset
from tracetorch.neurons.scalar import Scalar
from tracetorch.neurons.spiking import Spiking, total
from tracetorch.neurons.surrogates import Surrogate
from tracetorch.ops.entries import Entry


class AdaptiveDecay(Decay, total=False):
    """Say the membrane's decay, and the adaptation's with the prefix `adaptation_`."""

    adaptation_half_life: Value
    adaptation_tau: Value
    adaptation_beta: Value


class ALIF(Spiking):
    r"""Leak, integrate and fire, with a threshold that each spike raises.

    .. math::
        v_t &= \beta\,(v_{t-1} - \theta z_{t-1}) + k I_t, \qquad a_t = \rho\, a_{t-1} + z_{t-1} \\
        z_t &= [v_t > \theta + b\, a_t]

    The state holds `rho a_t + z_t`, what the next step starts from.

    Args:
        threshold: `theta`, in the unit of the membrane; a number, a tensor per unit, or `Learnable`.
        surrogate: stand-in for the derivative of the spike; `ATan()` by default.
        reset: what a spike does to the membrane; `SoftReset()` by default. The adaptation always keeps its gradient.
        refractory: number of silent steps after a spike.
        normalized: scale the input by `1 - beta`.
        adaptation: `b`, how far one spike raises the threshold; a number, a tensor per unit, or `Learnable`.
        **decay: exactly one of `half_life` (steps), `tau` (steps) and `beta` (per step), and exactly one of the same
            with the prefix `adaptation_`.

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

    def __init__(
        self,
        *,
        threshold: Value = 1.0,
        surrogate: Surrogate | None = None,
        reset: Reset | None = None,
        refractory: int = 0,
        normalized: bool = False,
        adaptation: Value = 0.1,
        **decay: Unpack[AdaptiveDecay],
    ) -> None:
        prefix = "adaptation_"
        slow = cast(Decay, {k[len(prefix) :]: v for k, v in decay.items() if k.startswith(prefix)})
        fast = cast(Decay, {k: v for k, v in decay.items() if not k.startswith(prefix)})
        super().__init__(
            threshold=threshold,
            surrogate=surrogate,
            reset=reset,
            refractory=refractory,
            normalized=normalized,
            **fast,
        )
        set_decay(self, "rho", slow, prefix=prefix)
        learned = isinstance(adaptation, Learnable)
        value = adaptation.tensor() if isinstance(adaptation, Learnable) else _tensor(adaptation)
        if learned:
            self.register_parameter("adaptation", Parameter(value))
        else:
            _register(self, "adaptation", value, None)

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        v = self.integrate(s.v, current)
        z = self.fire(v - self.threshold - self.adaptation * s.a, s)
        return self.pack((self.carry(v, z), self.rho * s.a + z, *self.count(s, z))), z

    def blocks(self, s: tuple[Tensor, ...], current: Tensor, params: Mapping[str, Tensor]) -> Blocks:
        """Return the Jacobian blocks in closed form; see `Neuron.blocks`."""
        held, a = s[0], s[1]
        v = self.integrate(held, current)
        distance = v - self.threshold - self.adaptation * a
        k = self.slopes((held, *s[2:]), v, current, distance=distance, params=params)
        fired_by_a = -k.psi * self.adaptation
        by_v: list[Entry] = [total(None, k.carry, k.leak), total(None, k.spike, fired_by_a)]
        by_a: list[Entry] = [k.psi * k.leak, self.rho + fired_by_a]
        drive: list[Entry] = [total(None, k.carry, k.gain), k.psi * k.gain]
        P: dict[str, list[Entry]] = {}
        Q: dict[str, Entry] = {}
        if "beta" in params:
            Q["beta"] = total(None, k.psi, k.beta_v)
            P["beta"] = [total(k.beta_carry, k.carry, k.beta_v), Q["beta"]]
        if "threshold" in params:
            P["threshold"], Q["threshold"] = [k.theta_carry, -k.psi], -k.psi
        if "rho" in params:
            P["rho"], Q["rho"] = [None, a], None
        if "adaptation" in params:
            Q["adaptation"] = -k.psi * a
            P["adaptation"] = [total(None, k.spike, Q["adaptation"]), Q["adaptation"]]
        return Blocks([by_v, by_a], drive, [by_a[0], fired_by_a], drive[1], P, Q)

    def scalar(self) -> Scalar | None:
        """Return the step on plain numbers; see `Neuron.scalar`."""
        return self.spiking_scalar("alif", ("beta", "threshold", "rho", "adaptation"))

    def constant(self, unit: tuple[int, ...], *, detach_reset: bool = False) -> Constant | None:
        """Return None: the adaptation makes the blocks depend on every spike."""
        return None
