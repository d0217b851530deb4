"""Entries of a block matrix: what a kernel accepts as a coefficient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Entry: TypeAlias = Tensor | None
"""A coefficient: `None` is zero, `[T, B, *unit]` varies in time, anything of lower rank is constant in time."""

Row: TypeAlias = Sequence[Entry]
Matrix: TypeAlias = Sequence[Row]


def at(entry: Tensor, step: int, steps: int, rank: int) -> Tensor:
    """Return a coefficient, `[T, B, *unit]` or of lower rank, at one step; itself where it is constant in time."""
    if entry.dim() == rank and entry.shape[0] == steps:
        return entry[step]
    return entry[0] if entry.dim() == rank else entry


def multiply_add(total: Entry, factor: Entry, value: Entry) -> Entry:
    """Return `total + factor * value`, where `None` stands for zero."""
    if factor is None or value is None:
        return total
    product = factor * value
    return product if total is None else total + product


def stack(row: Sequence[Entry], rank: int) -> Entry:
    """Return values of all steps, brought to `rank` dimensions, as one tensor, time first; None where all are zero."""
    known = next((x for x in row if x is not None), None)
    if known is None:
        return None
    zero = known.new_zeros(())
    rows = [x.reshape(*[1] * (rank - x.dim()), *x.shape) for x in (zero if x is None else x for x in row)]
    return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(torch.broadcast_tensors(*rows))
