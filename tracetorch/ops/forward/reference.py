"""Readable form of the forward recurrences, step by step."""

from __future__ import annotations

import torch
from torch import Tensor

from tracetorch.ops.entries import Entry, Matrix, Row, at, multiply_add, stack


def linear_scan(
    transition: Matrix, drive: Row, start: Row, steps: int, *, rank: int
) -> tuple[list[Entry], list[Entry]]:
    r"""Run a linear recurrence forward in time, element-wise per unit.

    .. math:: \sigma_t = A_t \sigma_{t-1} + B_t

    Args:
        transition: `A[i][j]`, S rows of S entries.
        drive: `B[i]`, S entries.
        start: the value before the first step, S entries `[B, *unit]`, None for zero.
        steps: T, the window's length in steps.
        rank: number of dimensions of an entry that varies in time.

    Returns:
        The values before each step, S entries `[T, B, *unit]`, and those after the last, S entries.
    """
    size = len(drive)
    now: list[Entry] = list(start)
    history: list[list[Entry]] = [[None] * steps for _ in range(size)]
    for step in range(steps):
        following: list[Entry] = []
        for i in range(size):
            history[i][step] = now[i]
            total = drive[i]
            total = None if total is None else at(total, step, steps, rank)
            for j in range(size):
                entry = transition[i][j]
                if entry is not None and now[j] is not None:
                    total = multiply_add(total, at(entry, step, steps, rank), now[j])
            following.append(total)
        now = following
    return [stack(row, rank - 1) for row in history], now


def decayed_sums(values: Tensor, decay: Tensor | float, start: Entry) -> Tensor:
    r"""Accumulate values with an exponential decay, keeping the sum after every step.

    .. math:: h_t = q\, h_{t-1} + g_t

    Args:
        values: `g`, `[T, ...]`.
        decay: `q` per step, a number or a tensor that broadcasts over one step.
        start: the sum before the first step, `[...]`, or None for zero.

    Returns:
        The sums, `[T, ...]`.
    """
    now = values[0] if start is None else start * decay + values[0]
    if values.shape[0] == 1:
        return now.unsqueeze(0)
    out = [now]
    for step in range(1, values.shape[0]):
        now = now * decay + values[step]
        out.append(now)
    return torch.stack(out)
