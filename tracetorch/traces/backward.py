"""The reverse pass of one window: from cotangents at its outputs and last state to currents and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.neurons.blocks import Blocks
from tracetorch.ops import reverse_scan
from tracetorch.ops.entries import Entry, multiply_add
from tracetorch.synapses import Synapse


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


def pull_recurrent(
    blocks: Blocks, z_bar: Tensor, s_bar: Sequence[Entry], steps: int, *, synapse: Synapse
) -> tuple[Pulled, Tensor, Tensor]:
    r"""Pull cotangents back through a window in which outputs are fed back through a synapse.

    .. math:: \bar z_{t-1} \leftarrow \bar z_{t-1} + R^\top q_t

    Args:
        blocks: the Jacobian blocks.
        z_bar: cotangents of the outputs, `[T, B, *unit]`.
        s_bar: cotangents of the last state, S entries, then of the last output, `[B, *unit]`.
        steps: T.
        synapse: the recurrent synapse.

    Returns:
        The cotangents of currents and states; those of the outputs with what was fed back; and the one of the output
        before the window.
    """
    rank = z_bar.dim()
    *carried, fed = s_bar
    drives, states, totals = [], [], []
    for step in reversed(range(steps)):
        here = Blocks(
            [[_slice(x, step, rank) for x in row] for row in blocks.A],
            [_slice(x, step, rank) for x in blocks.B],
            [_slice(x, step, rank) for x in blocks.D],
            _slice(blocks.psi, step, rank),
        )
        total = z_bar[step] if fed is None else z_bar[step] + fed
        pulled = pull(here, total.unsqueeze(0), carried, 1, rank=rank)
        drive = torch.zeros_like(total) if pulled.drive is None else pulled.drive[0].expand(total.shape)
        carried = list(pulled.start)
        fed = synapse.input_grad(drive, drive, synapse.weights()[0].detach().to(drive.dtype))
        drives.append(drive)
        totals.append(total)
        states.append([torch.zeros_like(total) if x is None else x[0].expand(total.shape) for x in pulled.states])
    history = [torch.stack([row[i] for row in reversed(states)]) for i in range(len(carried))]
    last = torch.zeros_like(z_bar[0]) if fed is None else fed
    return Pulled(torch.stack(drives[::-1]), history, carried), torch.stack(totals[::-1]), last


def _slice(entry: Entry, step: int, rank: int) -> Entry:
    if entry is None or entry.dim() < rank:
        return entry
    return entry[step : step + 1] if entry.shape[0] > 1 else entry


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


def require_first_derivative() -> None:
    """Raise RuntimeError where a backward is itself to be differentiated: a trace's credit has no graph."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError(
            "the gradients of a tt.Layer cannot be differentiated again (create_graph=True): traces have no graph. "
            "Take first derivatives alone, or form such a penalty from a module without tt.Layer"
        )


def sum_to(value: Tensor, like: Tensor) -> Tensor:
    """Return per-unit cotangents summed to the shape of the parameter they belong to."""
    return value.sum_to_size(like.shape) if value.shape != like.shape else value
