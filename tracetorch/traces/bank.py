r"""Several linear filters of one input, side by side: common states, an output for each.

.. math:: f_t = a f_{t-1} + b\, x_t, \qquad y_{g,t} = d_g \cdot f_{t-1} + p_g\, x_t

Where what is above a layer has no single response, as with a decay per unit or two heads, a cotangent belongs to the
filter through which it came. A trace needs the states alone, whatever their number of outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.backends import Filter
from tracetorch.neurons import Neuron

Way = tuple[tuple[int, ...], int]
"""Which of the layers that are fed is taken at each layer, and the group of units that it goes through; -1 for all."""
NO_WAY: Way = ((), -1)
"""The way above a layer that feeds none."""
PAST: Way = ((-1,), -1)
"""The way past all layers that a layer feeds, which has no memory."""
CROSSING = -2
"""The first step of the ways of what crosses a window's start through a layer; the others count down."""


def hopping(ways: Sequence[Way], hops: int) -> list[Way]:
    """Return ways of credit from outside, then those of each hop through a layer's own recurrent synapse."""
    return [((hop, *path), group) for hop in range(hops + 1) for path, group in ways]


def crossings(count: int) -> list[Way]:
    """Return the ways on which a layer sends a number of signals on what crosses a window's start."""
    return [((0, CROSSING - k), -1) for k in range(count)]


def inside_of(ways: Sequence[Way]) -> list[int]:
    """Return for each of some ways its number; for those of what crosses a window's start that of the last before."""
    found: list[int] = []
    for i, way in enumerate(ways):
        found.append(found[-1] if found and crosses(way) else i)
    return found


def crosses(way: Way) -> bool:
    """Return whether a way is of what crosses a window's start, which comes beside the credit of the window itself."""
    return any(step <= CROSSING for step in way[0])


@dataclass(frozen=True)
class Bank:
    """Filters of one input.

    Args:
        a: `[M, M]`.
        b: `[M]`.
        d: `[G, M]`.
        p: `[G]`.
    """

    a: Tensor
    b: Tensor
    d: Tensor
    p: Tensor

    @property
    def outputs(self) -> int:
        """G, the number of filters."""
        return self.d.shape[0]

    @staticmethod
    def of(filter: Filter) -> Bank:
        """Return a filter as a bank of one."""
        return Bank(filter.a, filter.b, filter.d.unsqueeze(0), filter.p.reshape(1))

    @staticmethod
    def through(like: Tensor) -> Bank:
        """Return a bank of one filter without memory, whose output is its input."""
        return Bank(like.new_zeros(0, 0), like.new_zeros(0), like.new_zeros(1, 0), like.new_ones(1))

    @property
    def only(self) -> Filter:
        """The first filter; where there are several, their common states with the output of the first."""
        return Filter(self.a, self.b, self.d[0], self.p[0])

    def behind(self, first: Filter) -> Bank:
        """Return the bank whose input is the output of another filter."""
        a, b = behind(Bank.of(first), self.a, self.b)
        return Bank(a, b, torch.cat([self.p[:, None] * first.d, self.d], 1), self.p * first.p)

    def hopped(self, own: Filter, hops: int) -> Bank:
        """Return the bank with its outputs once more for each hop: behind a delay of one step and the filter `own`.

        The outputs of no hop come first.
        """
        one = own.p.new_ones(1)
        delayed = Filter(torch.zeros_like(one).reshape(1, 1), one, one, torch.zeros_like(own.p)).then(own)
        found, each = self, torch.eye(self.outputs, dtype=one.dtype, device=one.device)
        for _ in range(hops):
            last = Bank(found.a, found.b, found.d[-self.outputs :], found.p[-self.outputs :])
            found = Bank(
                *behind(last, delayed.a, delayed.b),
                torch.block_diag(found.d, torch.kron(each, delayed.d.unsqueeze(0))),
                torch.cat([found.p, torch.zeros_like(last.p)]),
            )
        return found

    def ahead(self, count: int) -> Bank:
        """Return the bank with all outputs but the first `count`, which are of the past alone, one step earlier."""
        d = torch.cat([self.d[:count], self.d[count:] @ self.a])
        return Bank(self.a, self.b, d, torch.cat([self.p[:count], self.d[count:] @ self.b]))

    def forward(self, values: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs for values `[T, ...]`, `[G, T, ...]`, and the states after them, `[M, ...]`."""
        bank, out = self._to(values), []
        for x in values.unbind(0):
            out.append(torch.tensordot(bank.d, level, dims=1) + _times(bank.p, x))
            level = torch.tensordot(bank.a, level, dims=1) + _times(bank.b, x)
        return torch.stack(out, 1), level

    def reverse(self, bars: Tensor, level: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Carry cotangents of the outputs of the last E steps, `[G, E, ...]`, back to the input.

        Return those of the input, `[T, ...]`, and of the states before the window, `[M, ...]`; `level`: after it.
        """
        bank, out = self._to(bars), []
        direct, driven = torch.tensordot(bank.p, bars, dims=1), torch.tensordot(bank.d.t(), bars, dims=1)
        silent = steps - bars.shape[1]
        for step in reversed(range(steps)):
            x = torch.tensordot(bank.b, level, dims=1)
            level = torch.tensordot(bank.a.t(), level, dims=1)
            if step >= silent:
                x, level = x + direct[step - silent], level + driven[:, step - silent]
            out.append(x)
        return torch.stack(out[::-1]), level

    def _to(self, like: Tensor) -> Bank:
        return Bank(*(v.to(like) for v in (self.a, self.b, self.d, self.p)))


def behind(first: Bank, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the states of a bank with those of another filter, `a` and `b`, once behind each of its outputs."""
    size = len(first.b)
    joint = torch.block_diag(first.a, torch.kron(torch.eye(first.outputs, dtype=a.dtype, device=a.device), a))
    joint[size:, :size] = torch.kron(first.d, b.unsqueeze(1))
    return joint, torch.cat([first.b, torch.kron(first.p, b)])


def beside(banks: Sequence[Bank]) -> Bank:
    """Return banks of the same input as one."""
    if len(banks) == 1:
        return banks[0]
    a = torch.block_diag(*(bank.a for bank in banks))
    d = torch.block_diag(*(bank.d for bank in banks))
    return Bank(a, torch.cat([bank.b for bank in banks]), d, torch.cat([bank.p for bank in banks]))


def _times(weights: Tensor, x: Tensor) -> Tensor:
    return weights.reshape(-1, *[1] * x.dim()) * x


class OutputFilter(ABC):
    """Where the filter above a layer's outputs comes from."""

    @property
    def normalized(self) -> bool:
        """Whether cotangents are ones on the filter's output over its response to ones, instead of on its output."""
        return False

    @property
    def states(self) -> int:
        """M, the number of the filter's states."""
        return 1

    def why_whole(self) -> str:
        """Return why no window may begin after another one; empty where one may."""
        return ""

    @abstractmethod
    def at(self, neuron: Neuron, like: Tensor) -> Filter:
        """Return the filter as it is now, for a layer of a neuron, in the dtype and on the device of `like`."""

    @property
    def outputs(self) -> int:
        """G, the number of filters."""
        return 1

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways along which credit comes from outside, one for each filter."""
        return (NO_WAY,)

    @property
    def whole(self) -> OutputFilter | None:
        """The filters of the same states with the ways past the layers too; None where credit is not read by ways."""
        return None

    @property
    def hops(self) -> int:
        """Number of hops through the layer's own recurrent synapse that are credited."""
        return 0

    def bank(self, neuron: Neuron, like: Tensor) -> Bank | None:
        """Return the filters as they are now where there are several; else None."""
        return None
