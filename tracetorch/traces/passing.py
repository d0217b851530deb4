"""What passes between a window, its trace and its credit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracetorch.traces.window import Traces, Window

LEVEL, RESPONSE = "level", "response"
"""Names of the carried levels of the filter: of the outputs' sensitivities, and of ones."""


@dataclass(frozen=True)
class Start:
    """The carried past of a window, from which a forward scan and a credit begin.

    Args:
        traces: the traces, advanced to the window's start; None after a reset.
        sigma: sensitivity of the states, `[S, B, (C,) *unit]`; None after a reset.
        keep: `[B]`, zero for rows that are reset now, or None.
        like: a tensor of the form of one step's currents, `[B, *unit]`.
        x: one step's inputs, `[B, *in]`.
        currents: C, number of currents per unit.
    """

    traces: Traces | None
    sigma: Tensor | None
    keep: Tensor | None
    like: Tensor
    x: Tensor
    currents: int = 1

    @property
    def driven(self) -> tuple[int, ...]:
        """Shape of one step's currents, `[B, (C,) *unit]`."""
        batch, *unit = self.like.shape
        return (batch, *unit) if self.currents == 1 else (batch, self.currents, *unit)

    def sensitivity(self, size: int) -> Tensor:
        """Return the carried sensitivity of S states, `[S, B, (C,) *unit]`, zero in rows that are reset."""
        return self.like.new_zeros(size, *self.driven) if self.sigma is None else self.masked(self.sigma, 1)

    def level(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return carried levels of a filter by name, `[M, B, ...]`, zero in rows that are reset."""
        found = None if self.traces is None else self.traces.other.get(name)
        return self.like.new_zeros(shape) if found is None else self.masked(found, 1)

    def masked(self, value: Tensor, lead: int = 0) -> Tensor:
        """Return a value of the carried past whose batch follows `lead` dimensions, zero in rows that are reset."""
        if self.keep is None:
            return value
        shape = [*[1] * lead, -1, *[1] * (value.dim() - lead - 1)]
        return torch.where(self.keep.reshape(shape) > 0, value, torch.zeros_like(value))


@dataclass(frozen=True)
class Pulled:
    """What the cotangents of a window's outputs give.

    Args:
        weights: gradients of the weights, synapse by synapse; None where they do not learn.
        neuron: gradients of biases and neuron parameters by name, to be summed to their shapes.
        start: cotangents of the carried rows, `[rows, B, *unit]`.
        below: the signal per unit that goes back through the synapse, `[E, B, *unit]`; None where it was not asked for.
    """

    weights: list[Tensor | None]
    neuron: dict[str, Tensor | None]
    start: Tensor
    below: Tensor | None


class Credit(ABC):
    """How one window's outputs are credited."""

    window: Window

    @abstractmethod
    def pull(self, z_bar: Tensor, raw: Tensor | None, carry: Tensor, *, below: bool) -> Pulled:
        """Return what cotangents give.

        Args:
            z_bar: of the outputs of the last E steps, `[E, B, *unit]`.
            raw: of the same outputs, past the filter; None for none.
            carry: of the carried rows after the window, `[rows, B, *unit]`.
            below: whether the signal for the layer below is wanted.

        Returns:
            The gradients.
        """


def last_of(values: Tensor, events: Tensor, several: bool = False) -> Tensor:
    """Return the values of the last steps, as many as there are events; behind the filters where there are several."""
    if several:
        return values[:, -events.shape[1] :]
    return values[-events.shape[0] :] if values.shape[0] > events.shape[0] else values


@dataclass(frozen=True)
class Feed:
    """How a layer's credit goes apart among the filters that stand above a layer which feeds it.

    Args:
        ports: what takes up the parts at that layer, all but the first, `[P - 1, *outputs]`, with its graph.
        edge: where the input is in the graph.
        dtype: the input's.
        shape: the input's.
        node: the node of that layer's outputs.
        nodes: those of all layers of whose outputs the input is made, none of which is gone through.
        route: for each filter above this layer, and each group of its units, the number of the part.
        group: the group of each unit, in a shape that broadcasts to the units'; None for one.
        pole: the pole of each unit, where what crosses the window's start has parts too: those after the first of
            `route`.
    """

    ports: Tensor
    edge: Any
    dtype: torch.dtype
    shape: torch.Size
    node: Any
    nodes: tuple[Any, ...]
    route: tuple[tuple[int, ...], ...]
    group: Tensor | None
    pole: Tensor | None = None

    def signals(self, below: Tensor, across: Tensor | None) -> list[Tensor | None]:
        """Return the signals per unit of all parts but the first, from those of each filter, `[G, E, B, *unit]`.

        Args:
            below: the signals.
            across: those on what crosses the window's start, `[K, B, *unit]`; None where nothing does.

        Returns:
            The signals.
        """
        found: list[Tensor | None] = [None] * self.ports.shape[0]
        for signal, row in zip(below, self.route, strict=True):
            for group, part in enumerate(row):
                if part > 0:
                    own = signal if self.group is None else signal * (self.group == group)
                    before = found[part - 1]
                    found[part - 1] = own if before is None else before + own
        for part, signal in enumerate(() if across is None else across, start=self.route[0][0]):
            found[part] = torch.cat([signal.unsqueeze(0), torch.zeros_like(below[0, 1:])])
        return found


@dataclass(frozen=True)
class Closed:
    """What a window comes to.

    Args:
        credit: how it is credited; None for a window without an event.
        traces: the traces now.
        pending: the window, where the traces have still to advance over it.
    """

    credit: Credit | None
    traces: Traces | None
    pending: Window | None
