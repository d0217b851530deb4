r"""What crosses the start of a window through a layer whose units take several currents, such as `LRU`.

Inside a window credit goes back through such a layer by the Jacobians of its own units. What is before the window acts
through the states that the layer carries. Where its units are linear, these are powers of their Jacobian,

.. math:: \frac{\partial s_t}{\partial I_k} = A^{t-k} B, \qquad A^n = \sum_{m < S} \alpha_m(n)\, A^m

in which the :math:`\alpha_m` depend on the characteristic polynomial of A alone, that is, on the pole
:math:`\lambda` (and its conjugate). All units of one pole share these S filters; what differs, :math:`A^m B`, goes into
the signal that is sent below. The states f of the filters above the layer, which its outputs have gone
through before the window, are met alike, with :math:`\partial z_t / \partial I_k = \sum_m \alpha_m(t - k)\, \rho_m`,
:math:`\rho_0 = \psi`, :math:`\rho_m = D A^{m-1} B`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from tracetorch.neurons import Neuron, tensor_values, unit_shape
from tracetorch.neurons.lowering import Lowered
from tracetorch.traces.bank import Bank, behind, beside

SAME = 1e-7
"""Difference below which the poles of two units are one."""
SERIES = 1e-5
"""Share of a response, at most, that the powers of A may leave out."""


@dataclass(frozen=True)
class Units:
    """The Jacobian blocks of linear units, U of them in a row.

    Args:
        a: A, `[S, S, U]`.
        b: B, `[S, C, U]`.
        d: D, `[S, U]`.
        psi: `[C, U]`.
    """

    a: Tensor
    b: Tensor
    d: Tensor
    psi: Tensor

    @staticmethod
    def of(neuron: Neuron, like: Tensor, unit: tuple[int, ...]) -> Units:
        """Return the blocks of a linear neuron's units, in the dtype and on the device of `like`."""
        zero = like.new_zeros(1, 1, *unit)
        current = like.new_zeros(1, 1, len(neuron.currents), *unit)
        with torch.no_grad():
            found = neuron.blocks(tuple(zero for _ in (*neuron.state, *neuron.counters)), current, {})

        def each(entry: Tensor | None, full: Tensor) -> Tensor:
            value = torch.zeros_like(full) if entry is None else entry.detach().to(like).expand(full.shape)
            return value.reshape(*full.shape[2 : full.dim() - len(unit)], -1)

        return Units(
            torch.stack([torch.stack([each(x, zero) for x in row]) for row in found.A]),
            torch.stack([each(x, current) for x in found.B]),
            torch.stack([each(x, zero) for x in found.D]),
            each(found.psi, current),
        )

    def responses(self, count: int) -> Tensor:
        """Return how an output responds to each current of as many steps ago, from none to `count - 1`, `[n, C, U]`."""
        out, power = [self.psi], self.b
        for _ in range(count - 1):
            out.append((self.d.unsqueeze(1) * power).sum(0))
            power = self.advanced(power)
        return torch.stack(out)

    def advanced(self, states: Tensor) -> Tensor:
        """Return A times states, `[S, C, U]`."""
        return (self.a.unsqueeze(2) * states).sum(1)

    def polynomial(self) -> Tensor:
        r"""Return :math:`c_0 \dots c_{S-1}` of :math:`A^S = -\sum_m c_m A^m`, `[S, U]` (Faddeev and Le Verrier)."""
        a = self.a.movedim(-1, 0)
        one = torch.eye(len(self.a), dtype=a.dtype, device=a.device)
        power, found = one.expand_as(a), []
        for k in range(1, len(self.a) + 1):
            product = a @ power
            c = -product.diagonal(dim1=-2, dim2=-1).sum(-1) / k
            found.append(c)
            power = product + c.reshape(-1, 1, 1) * one
        return torch.stack(found[::-1])


def poles(neuron: Neuron, most: int) -> Tensor | None:
    """Return the number of each unit's pole; None where there are more than `most`, or the neuron is not linear."""
    program = neuron.lowered()
    if not isinstance(program, Lowered) or program.varies(program.A, program.B, program.D, program.psi):
        return None
    unit = unit_shape(tensor_values(neuron).values())
    units = Units.of(neuron, torch.zeros((), dtype=torch.float64), tuple(unit))
    c = units.polynomial()
    rho = units.responses(len(c) + 1)
    left = rho[-1] + (c.unsqueeze(1) * rho[:-1]).sum(0)
    distinct, index = (c / SAME).round().t().unique(dim=0, return_inverse=True)
    if len(distinct) > most or bool((left.abs() > SERIES * rho.abs().sum(0)).any()):
        return None
    found: Tensor = index.reshape(unit)
    return found


def crossing(neuron: Neuron, group: Tensor, inner: Bank | None, like: Tensor) -> Bank:
    """Return the filters above a layer that is fed by it: one without memory, then all that crosses a window's start.

    The layer's neuron is linear; `group` has the pole of each of its units, `inner` the filters above it. The bank's
    outputs are its input, then, for each pole, the states of its filters and those of the filters above behind each of
    them, as they were before the step.
    """
    units = Units.of(neuron, like, tuple(group.shape))
    share = one_hot(group.flatten()).to(like)
    found = [Bank.through(like)]
    for c in (units.polynomial() @ (share / share.sum(0))).unbind(1):
        size = len(c)
        a = torch.cat([torch.eye(size, dtype=c.dtype, device=c.device)[:, 1:], -c.unsqueeze(1)], 1)
        first = torch.eye(size, dtype=c.dtype, device=c.device)[0]
        one = Bank(a, first, a, first)
        a, b = (one.a, one.b) if inner is None else behind(one, inner.a, inner.b)
        found.append(Bank(a, b, torch.eye(len(b), dtype=b.dtype, device=b.device), torch.zeros_like(b)))
    return beside(found)


def signals(neuron: Neuron, group: Tensor, start: Tensor) -> Tensor:
    """Return the signals per unit on what crosses a window's start, in the order of `crossing`.

    Args:
        neuron: the layer's neuron, which is linear.
        group: the pole of each of its units.
        start: cotangents of its states and of those of the filters above it before the window, `[S + M, B, *unit]`.

    Returns:
        The signals, `[outputs - 1, B, C, *unit]`.
    """
    unit = start.shape[2:]
    units, size = Units.of(neuron, start, tuple(unit)), len(neuron.state)
    s, level = start.flatten(2).split([size, len(start) - size])
    own, power = [], units.b
    for _ in range(size):
        own.append((s.unsqueeze(2) * power.unsqueeze(1)).sum(0))  # [B, C, U]
        power = units.advanced(power)
    beyond = units.responses(size)[:, None, None] * level[None, :, :, None]  # [S, M, B, C, U]
    each = torch.cat([torch.stack(own), beyond.flatten(0, 1)])
    belongs = one_hot(group.expand(unit).flatten()).to(each).t()  # [poles, U]
    found: Tensor = (belongs[:, None, None, None] * each).flatten(0, 1).unflatten(-1, unit)
    return found
