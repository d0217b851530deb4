"""Take rows out of what a layer carries, and put rows of several such states together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tracetorch.engine.state import LayerState
from tracetorch.traces import Traces

AXES = {"h_weight": 0, "h": 0, "pairs.h": 2, "bucket": None, "pairs.length": None}
"""Where the batch stands in what one kind of trace carries beside, by name without a number, if not behind the states.

None stands for nowhere: the same for all rows.
"""


def select(state: LayerState, rows: Tensor) -> LayerState:
    """Return some rows of a state whose traces are advanced, by their numbers; they share no memory with it."""
    traces = state.traces
    if traces is not None:
        axes = {k: (v, _axis(k)) for k, v in traces.tensors().items()}
        flat = {k: v if axis is None else v.index_select(axis, rows) for k, (v, axis) in axes.items()}
        traces = Traces.from_tensors(flat)
    return LayerState(
        state.trace,
        tuple(x.index_select(0, rows) for x in state.s),
        _rows_of(state.z, rows),
        state.steps.index_select(0, rows),
        _rows_of(state.keep, rows),
        traces,
        sigma=_rows_of(state.sigma, rows, 1),
        count=_rows_of(state.count, rows),
        carry=_rows_of(state.carry, rows, 1),
        numbers=state.numbers,
    )


def blank(state: LayerState, size: int) -> LayerState:
    """Return a state of rows that have not run, to be put beside one: zero, and marked to be reset."""
    s = tuple(x.new_zeros(size, *x.shape[1:]) for x in state.s)
    z = None if state.z is None else state.z.new_zeros(size, *state.z.shape[1:])
    steps = state.steps.new_zeros(size)
    return LayerState(state.trace, s, z, steps, steps)


def merge(parts: Sequence[LayerState], order: Tensor) -> LayerState:
    """Return states of several rows each as one; traces are put together when they are read.

    `order` has, for each row of the result, its number among the rows of all parts, `[B]`.
    """
    first = parts[0]
    sizes = [p.batch for p in parts]
    keep = None
    if any(p.keep is not None for p in parts):
        keep = torch.cat([torch.ones_like(p.steps) if p.keep is None else p.keep for p in parts])[order]
    traced = any(p.traces is not None or p.pending is not None for p in parts)
    return LayerState(
        first.trace,
        tuple(torch.cat([p.s[i] for p in parts])[order] for i in range(len(first.s))),
        _joined([p.z for p in parts], sizes, order),
        torch.cat([p.steps for p in parts])[order],
        keep,
        pending=Parts(list(parts), order) if traced else None,
        sigma=_joined([p.sigma for p in parts], sizes, order, 1),
        count=_joined([p.count for p in parts], sizes, order),
        carry=_joined([p.carry for p in parts], sizes, order, 1),
    )


@dataclass(frozen=True, eq=False)
class Parts:
    """The traces of several states that make up one, each with a last window of its own; `order` numbers the rows."""

    states: Sequence[LayerState]
    order: Tensor

    def traces(self) -> Traces:
        """Return the traces, advanced over each state's last window; large ones are changed in place."""
        flats = []
        for state in self.states:
            traces = state.flushed().traces
            flats.append({} if traces is None else traces.tensors())
        sizes = [state.batch for state in self.states]
        names = list(dict.fromkeys(name for flat in flats for name in flat))
        return Traces.from_tensors({name: self._one(name, flats, sizes) for name in names})

    def copied(self) -> Parts:
        """Return the same with traces that share no memory with these."""
        return replace(self, states=[state.copied() for state in self.states])

    def unshared(self) -> Parts:
        """Return the same, of inputs that are to be copied."""
        return replace(self, states=[state.without_graph() for state in self.states])

    def _one(self, name: str, flats: Sequence[dict[str, Tensor]], sizes: Sequence[int]) -> Tensor:
        values, axis = [flat.get(name) for flat in flats], _axis(name)
        if name.startswith("other.pairs."):
            values = _aligned([v for v in values if v is not None], values)
        there = [v for v in values if v is not None]
        if axis is None:  # the same for all rows, or for pairs how long each has grown
            return torch.stack(there).amax(0)
        found = _joined(values, sizes, self.order, axis)
        return there[0] if found is None else found


def _aligned(there: Sequence[Tensor], values: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Return lists of pairs of unequal number, `[m, ...]`, as ones of equal number: the newest stand side by side."""
    most = max(len(v) for v in there)
    return [None if v is None else torch.cat([v.new_zeros(most - len(v), *v.shape[1:]), v]) for v in values]


def _axis(name: str) -> int | None:
    kind, _, rest = name.partition(".")
    return AXES.get(rest.rstrip("0123456789").rstrip("."), 1) if kind == "other" else 0


def _rows_of(value: Tensor | None, rows: Tensor, axis: int = 0) -> Tensor | None:
    return None if value is None else value.index_select(axis, rows)


def _joined(values: Sequence[Tensor | None], sizes: Sequence[int], order: Tensor, axis: int = 0) -> Tensor | None:
    """Return values of several groups of rows as one, zero where a group has none; None where none has one."""
    like = next((v for v in values if v is not None), None)
    if like is None:
        return None
    full = [
        like.new_zeros([*like.shape[:axis], size, *like.shape[axis + 1 :]]) if v is None else v
        for v, size in zip(values, sizes, strict=True)
    ]
    return torch.cat(full, axis).index_select(axis, order)
