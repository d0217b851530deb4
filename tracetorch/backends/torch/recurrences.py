"""Linear recurrences over time, step by step: the readable form of what compiled kernels do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tracetorch.backends.interface import Filter
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


def reverse_scan(
    transition: Matrix, readout: Row, z_bar: Entry, s_bar: Row, steps: int, *, rank: int
) -> tuple[list[Entry], list[Entry]]:
    r"""Carry cotangents of a neuron's state back through a window.

    For `t = T .. 1`, with `A = transition` and `D = readout`:

    .. math:: \lambda_{t-1} = D_t \bar z_t + A_t^\top \lambda_t

    Args:
        transition: `A[i][j] = ds_i / ds_j`, S rows of S entries.
        readout: `D[j] = dz / ds_j`, S entries.
        z_bar: cotangents of the outputs, `[T, B, *unit]`, or None for zero.
        s_bar: cotangents of the last state, S entries `[B, *unit]`, or None for zero.
        steps: T, the window's length in steps.
        rank: number of dimensions of an entry that varies in time.

    Returns:
        The cotangents of the states after each step, S entries `[T, B, *unit]`, and those of the state before the
        first step, S entries `[B, *unit]`; None where all are zero.
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
    return [stack(row, rank - 1) for row in history], carried


def decayed_sums(values: Tensor, decay: Tensor | float, start: Entry) -> Tensor:
    r"""Return the sums of values, `[T, ...]`, with a decay per step, after every step; None starts from a sum of zero.

    .. math:: h_t = q\, h_{t-1} + g_t
    """
    now = values[0] if start is None else start * decay + values[0]
    if values.shape[0] == 1:
        return now.unsqueeze(0)
    out = [now]
    for step in range(1, values.shape[0]):
        now = now * decay + values[step]
        out.append(now)
    return torch.stack(out)


def reverse_sums(values: Tensor, decay: Tensor | float, last: Entry) -> tuple[Tensor, Tensor]:
    r"""Return the sums of values, `[T, ...]`, backwards in time with a decay per step, and `kappa` times the first.

    .. math:: \tilde L_t = L_t + \kappa \tilde L_{t+1}

    The latter goes on to the steps before the window; `last` is that of the window after, or None for zero.
    """
    carried: Entry = last
    out: list[Tensor] = []
    for value in reversed(values.unbind(0)):
        now = value if carried is None else value + carried
        out.append(now)
        carried = decay * now
    filtered = out[0].unsqueeze(0) if len(out) == 1 else torch.stack(out[::-1])
    return filtered, filtered.new_zeros(filtered.shape[1:]) if carried is None else carried


def filter_forward(filter: Filter, values: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Return a filter's outputs, `[T, ...]`, for values of that shape, and its states after them, `[M, ...]`."""
    f = _in(filter, values)
    out = []
    for x in values.unbind(0):
        out.append(_dot(f.d, level) + f.p * x)
        level = _mix(f.a, level) + _outer(f.b, x)
    return _stacked(out), level


def filter_reverse(filter: Filter, z_bar: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cotangents of a filter's inputs, `[T, ...]`, and of its states before the window, `[M, ...]`."""
    f = _in(filter, z_bar)
    out = []
    for x in reversed(z_bar.unbind(0)):
        out.append(f.p * x + _dot(f.b, level))
        level = _outer(f.d, x) + _mix(f.a.t(), level)
    return _stacked(out[::-1]), level


def _in(filter: Filter, like: Tensor) -> Filter:
    return Filter(*(v.to(like) for v in (filter.a, filter.b, filter.d, filter.p)))


def _dot(weights: Tensor, level: Tensor) -> Tensor:
    return weights[0] * level[0] if level.shape[0] == 1 else torch.tensordot(weights, level, dims=1)


def _mix(matrix: Tensor, level: Tensor) -> Tensor:
    return matrix[0, 0] * level if level.shape[0] == 1 else torch.tensordot(matrix, level, dims=1)


def _outer(weights: Tensor, x: Tensor) -> Tensor:
    return weights.reshape(-1, *[1] * x.dim()) * x


def _stacked(values: Sequence[Tensor]) -> Tensor:
    return values[0].unsqueeze(0) if len(values) == 1 else torch.stack(tuple(values))
