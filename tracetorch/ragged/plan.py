"""Which steps of which rows run together, where rows begin, end and pause at steps of their own.

A step that is not valid changes nothing, so that a row is the same as its valid steps joined together, and a reset cuts
it into sequences that know nothing of each other. Sequences run side by side, in groups of about one length.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor

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
    """Steps of one row without a reset among them; whether it goes on from what the row carries, and carries on."""

    row: int
    steps: Sequence[int]
    carried: bool
    final: bool


@dataclass(frozen=True)
class Group:
    """Sequences that run as one window."""

    sequences: Sequence[Segment]

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

    def steps(self) -> Tensor:
        """Return each step's number in the whole window, `[L, N]`; a sequence that has ended goes on with its last."""
        length = range(self.length)
        return torch.tensor([[s.steps[min(t, len(s.steps) - 1)] for s in self.sequences] for t in length])

    def inputs(self, xs: Tree) -> Tree:
        """Return the window's inputs; a sequence that has ended goes on with its last one."""
        steps, rows = self.steps(), torch.tensor(self.rows)
        return mapped(lambda x: x[steps.to(x.device), rows.to(x.device)], xs)

    def last(self) -> Tensor:
        """Return the number of each sequence's last step in the window, `[N]`."""
        return torch.tensor([len(s.steps) - 1 for s in self.sequences])

    def places(self, width: int) -> tuple[Tensor, Tensor]:
        """Return, for each step that ran, its number among the outputs and among all steps and all B rows."""
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
        where = valid[:, row].nonzero().flatten()
        began, steps = count[where, row], where.tolist()
        cuts = [0, *((began[1:] != began[:-1]).nonzero().flatten() + 1).tolist(), len(steps)]
        for first, end in pairwise(cuts):
            if end > first:
                found.append(Segment(row, steps[first:end], int(began[first]) == 0, end == len(steps)))
    return found


def grouped(found: Iterable[Segment], *, exact: bool) -> list[Group]:
    """Return which sequences run together, the shortest first.

    Without `exact`, the shorter ones of a group go on with their last input, to twice their length at most: their
    outputs are right, and the states that they come to are not.
    """

    def key(s: Segment) -> tuple[bool, bool, int]:
        size = len(s.steps)
        return exact and s.final, s.carried, size if exact else size.bit_length()

    ordered = sorted(found, key=key)
    return [Group(list(some)) for _, some in groupby(ordered, key)]
