"""Readable form of the reverse filter, step by step."""

from __future__ import annotations

import torch
from torch import Tensor

from tracetorch.ops.entries import Entry, Matrix, Row, at, multiply_add, stack


def reverse_scan(
    transition: Matrix, readout: Row, z_bar: Entry, s_bar: Row, steps: int, *, rank: int
) -> tuple[list[Entry], list[Entry]]:
    r"""Carry the cotangents of a window's outputs and last state back to its first state.

    For `t = T .. 1`, with `A = transition` and `D = readout`:

    .. math:: \lambda_{t-1} = D_t \bar z_t + A_t^\top \lambda_t

    A row dimension may stand between time and batch in `z_bar` and before the batch in `s_bar`: then many
    cotangents go back at once, which is how the Jacobian of a whole window is formed.

    Args:
        transition: `A[i][j] = ds_i / ds_j`, S rows of S entries.
        readout: `D[j] = dz / ds_j`, S entries.
        z_bar: cotangent of the outputs, `[T, ..., B, *unit]`, or None for zero.
        s_bar: cotangent of the last state, S entries `[..., B, *unit]`, or None for zero.
        steps: T, the window's length in steps.
        rank: number of dimensions of an entry that varies in time.

    Returns:
        The cotangents of the states after each step, S entries `[T, ..., B, *unit]`, and those of the state
        before the first step, S entries `[..., B, *unit]`; None where all are zero.
    """
    size = len(readout)
    carried: list[Entry] = list(s_bar)
    history: list[list[Entry]] = [[None] * steps for _ in range(size)]
    for step in reversed(range(steps)):
        for i in range(size):
            history[i][step] = carried[i]
        z_now = None if z_bar is None else z_bar[step]
        previous: list[Entry] = []
        for j in range(size):
            total: Entry = None
            column = [readout[j], *(transition[i][j] for i in range(size))]
            for entry, value in zip(column, [z_now, *carried], strict=True):
                if entry is not None and value is not None:
                    total = multiply_add(total, at(entry, step, steps, rank), value)
            previous.append(total)
        carried = previous
    return [stack(row, 0) for row in history], carried


def reverse_filter(z_bar: Tensor, decay: Tensor | float, last: Entry) -> tuple[Tensor, Tensor]:
    r"""Filter cotangents backwards in time, as a leaky readout's own backward would.

    .. math:: \tilde L_t = L_t + \kappa \tilde L_{t+1}

    Args:
        z_bar: the cotangents `L`, `[T, ...]`.
        decay: `kappa`, per step, a number or a tensor that broadcasts over one step.
        last: the cotangent that arrives at the filter's value after the window, `[...]`, or None.

    Returns:
        The filtered cotangents, `[T, ...]`, and the one that leaves the window at its start.
    """
    steps = z_bar.shape[0]
    carried: Entry = last
    out: list[Tensor] = [z_bar[0]] * steps
    for step in reversed(range(steps)):
        now = z_bar[step] if carried is None else z_bar[step] + carried
        out[step] = now
        carried = decay * now
    filtered = out[0].unsqueeze(0) if steps == 1 else torch.stack(out)
    return filtered, filtered.new_zeros(filtered.shape[1:]) if carried is None else carried
