"""The reverse pass of one window: from cotangents at its outputs and last state to currents and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tracetorch.neurons.blocks import Blocks
from tracetorch.ops import reverse_scan
from tracetorch.ops.entries import Entry, multiply_add


@dataclass(frozen=True)
class Pulled:
    """Hold what the reverse pass found.

    Args:
        drive: cotangents of the currents, `[T, ..., B, *unit]`, or None for zero.
        states: cotangents of the state after each step, S entries `[T, ..., B, *unit]`.
        start: cotangents of the state before the window, S entries `[..., B, *unit]`.
    """

    drive: Entry
    states: Sequence[Entry]
    start: Sequence[Entry]


def pull(blocks: Blocks, z_bar: Entry, s_bar: Sequence[Entry], steps: int, *, rank: int, rows: bool = False) -> Pulled:
    r"""Pull cotangents back through a window.

    .. math:: q_t = \psi_t \bar z_t + B_t \cdot \lambda_t

    Args:
        blocks: the Jacobian blocks.
        z_bar: cotangents of the outputs, `[T, (R,) B, *unit]`, or None.
        s_bar: cotangents of the last state, S entries, or None each.
        steps: T.
        rank: number of dimensions of an entry that varies in time.
        rows: whether the cotangents have a row dimension R.

    Returns:
        The cotangents of currents and states.
    """
    states, start = reverse_scan(blocks.A, blocks.D, z_bar, s_bar, steps, rank=rank)
    return Pulled(combine(blocks.psi, blocks.B, z_bar, states, rank=rank, rows=rows), states, start)


def combine(
    direct: Entry,
    through: Sequence[Entry],
    z_bar: Entry,
    states: Sequence[Entry],
    *,
    rank: int,
    rows: bool = False,
) -> Entry:
    """Return `direct * z_bar + sum_i through[i] * states[i]`: what reaches one thing that outputs and states depend on.

    Args:
        direct: derivative of the output by it.
        through: derivatives of the states by it, S entries.
        z_bar: cotangents of the outputs, `[T, (R,) B, *unit]`, or None.
        states: cotangents of the states after each step, S entries.
        rank: number of dimensions of an entry that varies in time.
        rows: whether the cotangents have a row dimension R.

    Returns:
        Its cotangents, `[T, (R,) B, *unit]`, or None for zero.
    """
    total = multiply_add(None, _aligned(direct, rank, rows), z_bar)
    for entry, state in zip(through, states, strict=True):
        total = multiply_add(total, _aligned(entry, rank, rows), state)
    return total


def _aligned(entry: Entry, rank: int, rows: bool) -> Entry:
    return entry.unsqueeze(1) if rows and entry is not None and entry.dim() == rank else entry


def sum_to(value: Tensor, like: Tensor) -> Tensor:
    """Return per-unit cotangents summed to the shape of the parameter they belong to."""
    return value.sum_to_size(like.shape) if value.shape != like.shape else value
