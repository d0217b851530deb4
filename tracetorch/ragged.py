"""Windows whose rows begin, end and pause at steps of their own: cut into sequences, which run side by side by length.

A step that is not valid changes nothing, so that a row is the same as its valid steps joined together, and a reset cuts
it into sequences that know nothing of each other. Sequences of equal length run as one window each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from tracetorch.engine import Core, LayerState, blank, merge, select
from tracetorch.layer import Layer
from tracetorch.trees import Tree, mapped


@dataclass(frozen=True)
class Rows:
    """When the rows of a window run and when they begin again.

    Args:
        valid: `[T, B]` of booleans, false where a row stands still.
        resets: `[T, B]` of booleans, true where a row is reset before the step.
    """

    valid: Tensor
    resets: Tensor

    def ended(self) -> Tensor:
        """Return which rows, `[B]`, are reset after their last step."""
        count = self.resets.long().cumsum(0)
        return count[-1] > (count * self.valid).amax(0)


@dataclass(frozen=True)
class Segment:
    """Steps of one row without a reset among them.

    Args:
        row: number of the row.
        steps: numbers of its valid steps.
        carried: whether it goes on from what the row carries.
        final: whether the row carries on what it comes to.
    """

    row: int
    steps: Sequence[int]
    carried: bool
    final: bool


@dataclass(frozen=True)
class Group:
    """Sequences that run as one window.

    Args:
        sequences: the sequences; all are of the window's length but those whose end nothing is carried on from.
    """

    sequences: Sequence[Segment]

    @property
    def final(self) -> bool:
        """Whether the rows carry on what they come to."""
        return self.sequences[0].final

    @property
    def carried(self) -> bool:
        """Whether they go on from what the rows carry."""
        return self.sequences[0].carried

    @property
    def length(self) -> int:
        """Number of steps of the window."""
        return max(len(s.steps) for s in self.sequences)

    @property
    def rows(self) -> list[int]:
        """Numbers of the rows."""
        return [s.row for s in self.sequences]

    def inputs(self, xs: Tree) -> Tree:
        """Return the window's inputs; a sequence that has ended goes on with its last one."""
        length = self.length
        steps = torch.tensor([[s.steps[min(t, len(s.steps) - 1)] for s in self.sequences] for t in range(length)])
        rows = torch.tensor(self.rows)
        return mapped(lambda x: x[steps.to(x.device), rows.to(x.device)], xs)

    def outputs(self, width: int) -> tuple[Tensor, Tensor]:
        """Return, for each step that ran, its number among the window's outputs and among those of all steps and rows.

        Args:
            width: B, number of rows of all.
        """
        count = len(self.sequences)
        here = [t * count + n for n, s in enumerate(self.sequences) for t in range(len(s.steps))]
        there = [t * width + s.row for s in self.sequences for t in s.steps]
        return torch.tensor(here), torch.tensor(there)


def sequences(rows: Rows) -> list[Segment]:
    """Return the sequences of a window's rows."""
    found = []
    count = rows.resets.cpu().long().cumsum(0)
    valid = rows.valid.cpu()
    for row in range(valid.shape[1]):
        steps = valid[:, row].nonzero().flatten()
        began = count[steps, row]
        cuts = [0, *((began[1:] != began[:-1]).nonzero().flatten() + 1).tolist(), len(steps)]
        steps = steps.tolist()
        for first, end in pairwise(cuts):
            if end > first:
                found.append(Segment(row, steps[first:end], int(began[first]) == 0, end == len(steps)))
    return found


def grouped(found: Iterable[Segment], *, exact: bool) -> list[Group]:
    """Return which sequences run together: those of equal length, the shortest first.

    Args:
        found: the sequences.
        exact: whether sequences that nothing is carried on from must be of equal length too; else the shorter ones are
            filled up, to twice their length at most.
    """

    def key(s: Segment) -> tuple[bool, bool, int]:
        size = len(s.steps)
        return s.final, s.carried, size if exact or s.final else size.bit_length()

    ordered = sorted(found, key=key)
    return [Group(list(some)) for _, some in groupby(ordered, key)]


def run(
    layers: Sequence[Layer], xs: Tree, rows: Rows, out: Literal["all", "last"], window: Callable[[Tree], Tree]
) -> Tree:
    """Run a network over a window whose rows are valid and reset at steps of their own.

    Args:
        layers: the network's layers.
        xs: inputs, `[T, B, ...]`.
        rows: when each row runs.
        out: `all` or `last`, as in `tt.scan`.
        window: what runs the network over one window from what its layers carry.

    Returns:
        Outputs, `[T, B, ...]` or `[B, ...]`, zero where a row did not run.
    """
    steps, width = rows.valid.shape
    found = sequences(rows)
    if not found:
        raise ValueError(f"no row has a valid step in this window of {steps} steps and {width} rows")
    cores = [layer.core for layer in layers]
    stateless = all(core.state is None for core in cores)
    if stateless:
        found = [Segment(s.row, s.steps, False, s.final) for s in found]
    if out == "last":
        found = [s for s in found if s.final]
    groups = grouped(found, exact=any(layer.rule.window == "sequence" for layer in layers))
    before = [core.state for core in cores]
    if not torch.is_grad_enabled():
        before = [None if state is None else state.forgotten() for state in before]
    ends: list[list[LayerState | None]] = []
    spikes: list[list[Any]] = []
    values, places, whole = [], [], list(range(width))
    for group in groups:
        for core, state in zip(cores, before, strict=True):
            core.state = state if group.carried and groups == [group] and group.rows == whole else _start(state, group)
        with _measured(cores, on=group is groups[-1]):
            ys = window(group.inputs(xs))
        ys, there = _sorted_out(ys, group, width, out)
        values.append(ys)
        places.append(there)
        if group.final:
            ends.append([core.state for core in cores])
            spikes.append([core.spikes for core in cores])
    ran = [row for group in groups if group.final for row in group.rows]
    if len(ends) > 1 or ran != whole:
        for i, core in enumerate(cores):
            core.state = _end(before[i], [row[i] for row in ends], ran, width)
            core.spikes = _spikes([row[i] for row in spikes], ran, width)
    return _placed(values, torch.cat(places), (width,) if out == "last" else (steps, width))


def _start(state: LayerState | None, group: Group) -> LayerState | None:
    """Return what the sequences of a group begin with."""
    if state is None:
        return None
    rows = torch.tensor(group.rows, device=state.steps.device)
    if group.carried:
        return select(state, rows)
    if state.traces is not None and "bucket" in state.traces.other:  # which units share a decay stays as it is
        return select(state, rows).marked(torch.ones(len(rows), dtype=torch.bool))
    return None


@contextmanager
def _measured(cores: Sequence[Core], *, on: bool) -> Iterator[None]:
    """Let layers measure their mean blocks in one group alone, so that a window counts once."""
    wanted = [core.activity.wanted for core in cores]
    try:
        for core, one in zip(cores, wanted, strict=True):
            core.activity.wanted = one and on
        yield
    finally:
        for core, one in zip(cores, wanted, strict=True):
            core.activity.wanted = one


def _sorted_out(ys: Tree, group: Group, width: int, out: str) -> tuple[Tree, Tensor]:
    """Return a group's outputs as one row for each step that ran, `[M, ...]`, and their numbers in the whole."""
    if out == "last":
        return ys, torch.tensor(group.rows)
    here, there = group.outputs(width)
    return mapped(lambda y: y.flatten(0, 1).index_select(0, here.to(y.device)), ys), there


def _placed(values: Sequence[Tree], places: Tensor, shape: tuple[int, ...]) -> Tree:
    """Return outputs in their places, zero in all others."""
    size = int(torch.tensor(shape).prod())

    def one(*parts: Tensor) -> Tensor:
        flat = torch.cat(parts)
        zeros = flat.new_zeros(size, *flat.shape[1:])
        return zeros.index_copy(0, places.to(flat.device), flat).reshape(*shape, *flat.shape[1:])

    return mapped(one, values[0], *values[1:])


def _end(
    before: LayerState | None, ends: Sequence[LayerState | None], ran: Sequence[int], width: int
) -> LayerState | None:
    """Return what all rows carry after the window: those that did not run what they carried before."""
    there = [state for state in ends if state is not None]
    if not there:
        return before
    idle = sorted(set(range(width)) - set(ran))
    if idle:
        rows = torch.tensor(idle, device=there[0].steps.device)
        there.append(blank(there[0], len(idle)) if before is None else select(before, rows))
    return merge(there, _order([*ran, *idle], there[0].steps.device))


def _order(rows: Sequence[int], device: torch.device) -> Tensor:
    """Return where each row of the batch stands in a list of all rows."""
    return torch.tensor(rows).argsort().to(device)


def _spikes(parts: Sequence[Any], ran: Sequence[int], width: int) -> Any:
    """Return the spike counts of all rows for a rate term; of rows that did not run they are zero, in one step."""
    there = [part for part in parts if part is not None]
    if not there:
        return None
    count, steps = (torch.cat([part[i] for part in there]) for i in range(2))
    idle = sorted(set(range(width)) - set(ran))
    count = torch.cat([count, count.new_zeros(len(idle), *count.shape[1:])])
    steps = torch.cat([steps, steps.new_ones(len(idle))])
    order = _order([*ran, *idle], steps.device)
    return count[order], steps[order], None
