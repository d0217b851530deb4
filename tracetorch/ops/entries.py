"""Entries of a block matrix: what a kernel accepts as a coefficient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor

Entry: TypeAlias = Tensor | None
"""A coefficient: `None` is zero, `[T, B, *unit]` varies in time, anything of lower rank is constant in time."""

Row: TypeAlias = Sequence[Entry]
Matrix: TypeAlias = Sequence[Row]


def at(entry: Tensor, step: int, steps: int, rank: int) -> Tensor:
    """Return the entry at one step of a window.

    Args:
        entry: coefficient, `[T, B, *unit]` or of lower rank.
        step: index of the step in the window.
        steps: T, the window's length.
        rank: number of dimensions of an entry that varies in time.

    Returns:
        The slice at `step`, or the entry itself where it is constant in time.
    """
    if entry.dim() == rank and entry.shape[0] == steps:
        return entry[step]
    return entry[0] if entry.dim() == rank else entry


def multiply_add(total: Entry, factor: Entry, value: Entry) -> Entry:
    """Return `total + factor * value`, where `None` stands for zero."""
    if factor is None or value is None:
        return total
    product = factor * value
    return product if total is None else total + product
