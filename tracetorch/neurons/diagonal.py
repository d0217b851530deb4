"""Diagonal recurrence: each unit feeds its own output back to itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.neurons.base import Neuron
from tracetorch.neurons.blocks import Blocks
from tracetorch.neurons.spiking import total
from tracetorch.ops.entries import Entry


class DiagonalRecurrent(Neuron):
    r"""Feed each unit's last output back to it, through a learned weight of its own.

    .. math:: I'_t = I_t + r \odot z_{t-1}

    The output joins the state and `r` is a neuron parameter, so that full eligibility stays exact.

    Args:
        neuron: the neuron inside.
        shape: the units' shape, of which `r` has one value each.
        init: start value of `r`, in the unit of the current.

    Example:
        >>> import torch, tracetorch as tt
        >>> neuron = tt.DiagonalRecurrent(tt.LIF(half_life=10), (4,))
        >>> tt.Layer(torch.nn.Linear(3, 4), neuron)(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(self, neuron: Neuron, shape: tuple[int, ...] | int, *, init: float = 0.0) -> None:
        nn.Module.__init__(self)
        if not isinstance(neuron, Neuron):
            raise TypeError(f"DiagonalRecurrent takes a neuron such as tt.LIF(half_life=10), got {neuron!r}")
        self.inner = neuron
        self.r = nn.Parameter(torch.full((shape,) if isinstance(shape, int) else tuple(shape), float(init)))
        self.state = (*neuron.state, "z")  # type: ignore[misc]
        self.counters = neuron.counters

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        size = len(self.inner.state)
        inside = self.inner.pack((*s[:size], *s[size + 1 :]))
        after, z = self.inner.step(inside, current + self.r * s.z)
        return self.pack((*after[:size], z, *after[size:])), z

    def blocks(self, s: tuple[Tensor, ...], current: Tensor, params: Mapping[str, Tensor]) -> Blocks:
        """Return the Jacobian blocks, composed of the inner neuron's; see `Neuron.blocks`."""
        size = len(self.inner.state)
        z, r = s[size], params.get("r", self.r.detach())
        own = {k[len("inner.") :]: v for k, v in params.items() if k.startswith("inner.")}
        b = self.inner.blocks((*s[:size], *s[size + 1 :]), current + r * z, own)
        psi_r = total(None, b.psi, r)
        A = [[*b.A[i], total(None, b.B[i], r)] for i in range(size)] + [[*b.D, psi_r]]
        P: dict[str, list[Entry]] = {f"inner.{n}": [*row, b.Q[n]] for n, row in b.P.items()}
        Q: dict[str, Entry] = {f"inner.{n}": x for n, x in b.Q.items()}
        if "r" in params:
            Q["r"] = total(None, b.psi, z)
            P["r"] = [*(total(None, x, z) for x in b.B), Q["r"]]
        return Blocks(A, [*b.B, b.psi], [*b.D, psi_r], b.psi, P, Q)

    def constant(self, unit: tuple[int, ...], *, detach_reset: bool = False) -> None:
        """Return None: the recurrence makes the blocks depend on the surrogate at every step."""

    @property
    def decay(self) -> Tensor | None:
        """The inner membrane's decay per step."""
        return self.inner.decay
