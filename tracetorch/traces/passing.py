"""What passes between a window, its trace and its credit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from tracetorch.traces.bank import NO_WAY, PAST, OutputFilter, Way, crosses, hopping
from tracetorch.traces.window import Traces, Window

CHANGED = (
    "credit came back to a layer along a way that it does not know: the network runs its layers otherwise than in the "
    "first step of this sequence; call tt.reset(net) and begin again"
)
CLOSED = "tracetorch.closed"
"""Note on the node of a layer's outputs of how many cotangents are being followed past it."""
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

    @property
    def filter(self) -> OutputFilter | None:
        """The filters above the layer; None for none."""
        return None

    @property
    def ways(self) -> list[Way]:
        """The ways along which signals go below."""
        return hopping((NO_WAY,), 0)

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

    def whole(self, start: Start) -> Credit:
        """Return the same, from the carried past `start`, for credit that has come past the layers above too."""
        return self


def last_of(values: Tensor, events: Tensor, several: bool = False) -> Tensor:
    """Return the values of the last steps, as many as there are events; behind the filters where there are several."""
    if several:
        return values[:, -events.shape[1] :]
    return values[-events.shape[0] :] if values.shape[0] > events.shape[0] else values


class Received:
    """What the layers above send back to one call of a layer in a backward, by the way along which it goes.

    All else that reaches the call's outputs has come past these layers: from a head, or from its own loss.

    Args:
        filter: the filters above the layer.
    """

    __slots__ = ("_parts", "_task", "doubted", "filter", "passed", "private")

    def __init__(self, filter: OutputFilter) -> None:
        self.filter = filter
        self.passed: Callable[[], Callable[[bool], None] | None] | None = None
        """What gives what is told, as long as it is there, whether credit has come past all layers above."""
        self.private = False
        """Whether nobody has the outputs but one layer above."""
        self.doubted = False
        """Whether the first step has shown other layers above than there are filters for: all credit is alike then."""
        self._parts: dict[Way, Tensor] = {}
        self._task = -1

    @property
    def alone(self) -> bool:
        """Whether all credit comes along the one way that there is."""
        return (self.private or self.doubted) and len(self.filter.ways) == 1

    def add(self, way: Way, part: Tensor) -> None:
        """Take up what a layer sends along a way."""
        task = torch._C._current_graph_task_id()
        if task != self._task:  # what was left by a backward that has failed, or that did not get here
            self._parts, self._task = {}, task
        before = self._parts.get(way)
        self._parts[way] = part if before is None else before + part

    def split(self, z_bar: Tensor) -> dict[Way, Tensor] | None:
        """Return the outputs' cotangents, `[..., B, *unit]`, by the way they came along; None if by one way alone."""
        parts = self._parts if self._task == torch._C._current_graph_task_id() else {}
        parts = {way: part if part.shape == z_bar.shape else part.reshape(z_bar.shape) for way, part in parts.items()}
        self._parts, ways = {}, self.filter.ways
        told = None if self.passed is None or self.doubted else self.passed()
        if told is not None:
            told(False)
        if self.alone or self.doubted:
            parts.pop(ways[0], None)
            if not parts and len(ways) == 1:
                return None
            return parts | {ways[0]: _rest(z_bar, parts)}
        only = parts.get(ways[0]) if len(parts) == 1 and len(ways) == 1 else None
        if only is not None and only.data_ptr() == z_bar.data_ptr():
            return None
        rest = _rest(z_bar, parts)
        size = z_bar.norm() + sum(part.norm() for way, part in parts.items() if not crosses(way))
        if not bool(rest.norm() <= 8 * torch.finfo(z_bar.dtype).eps * size):  # else what rounding leaves
            if told is not None:
                told(True)
            return parts | {PAST: rest}
        return None if only is not None else parts


def _rest(z_bar: Tensor, parts: Mapping[Way, Tensor]) -> Tensor:
    """Return what of a call's cotangents is in none of the parts of it."""
    return z_bar - sum((part for way, part in parts.items() if not crosses(way)), torch.zeros_like(z_bar))


def receiving(filter: OutputFilter | None) -> Received | None:
    """Return what takes up the credit that the layers above send to one call; None where it is not distinguished."""
    if filter is None or filter.whole is None or not filter.states or torch.compiler.is_compiling():
        return None
    return Received(filter)


@dataclass(slots=True, eq=False)  # not frozen: it is made at each step
class Feed:
    """How a layer sends credit to one that feeds it and distinguishes credit by the path along which it comes.

    Args:
        received: what takes it up there.
        edge: where the input is in the graph.
        dtype: the input's.
        shape: the input's.
        node: the node of that layer's outputs.
        nodes: those of all layers of whose outputs the input is made, none of which is gone through.
        route: for each way above this layer, and each group of its units, the way above that layer.
        group: the group of each unit, in a shape that broadcasts to the units'; None for one.
        pole: the pole of each unit, where what crosses the window's start is sent too; None where nothing is.
    """

    received: Received
    edge: Any
    dtype: torch.dtype
    shape: torch.Size
    node: Any
    nodes: tuple[Any, ...]
    route: Mapping[Way, tuple[Way, ...]]
    group: Tensor | None
    pole: Tensor | None = None

    def send(self, way: Way, part: Tensor) -> None:
        """Send a cotangent of the input along a way above that layer."""
        part = part if part.dtype is self.dtype else part.to(self.dtype)
        part = part if part.shape == self.shape else part.reshape(self.shape)
        found = back_to(self.edge, self.node, self.nodes, part)
        if found is not None:
            self.received.add(way, found)

    def signals(self, way: Way, signal: Tensor) -> list[tuple[Way, Tensor]]:
        """Return a signal per unit of a way above this layer by the ways above that one, where it has to be sent."""
        parts, received = self.route.get(way), self.received
        if parts is None:
            raise RuntimeError(CHANGED)
        if not parts or (received.alone and parts == received.filter.ways):
            return []
        if self.group is None:
            return [(parts[0], signal)]
        return [(part, signal * (self.group == group)) for group, part in enumerate(parts)]


def back_to(edge: Any, node: Any, nodes: Sequence[Any], part: Tensor) -> Tensor | None:
    """Return what a cotangent comes to at a layer's outputs, through the modules between and through no layer.

    It is at `edge` of the graph; `node` is that of the layer's outputs, `nodes` those of all layers that are met first.
    """
    if edge.node is node:
        return part
    others = [_of_call(one) for one in nodes if one is not node]
    closed = [one.register_prehook(_nothing) for one in others]
    for one in others:
        one.metadata[CLOSED] = one.metadata.get(CLOSED, 0) + 1
    try:
        found = torch.autograd.grad([edge], [GradientEdge(node, 0)], [part], retain_graph=True, allow_unused=True)
    finally:
        for hook in closed:
            hook.remove()
        for one in others:
            one.metadata[CLOSED] -= 1
    return found[0]


def _of_call(node: Any) -> Any:
    """Return the node of a layer's call, given that of its outputs, which may be the last step of the call."""
    own = node.metadata.get("tracetorch")
    for past, _ in node.next_functions:
        other = None if past is None else past.metadata.get("tracetorch")
        if own is not None and other is not None and (other.core, other.call) == (own.core, own.call):
            return past
    return node


def _nothing(cotangents: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    return tuple(None if bar is None else torch.zeros_like(bar) for bar in cotangents)


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
