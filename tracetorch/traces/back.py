r"""The way back through one window, by the plan: from cotangents at outputs to currents, states and the carried rows.

.. math::
    \tilde L_t &= L_t + \kappa \tilde L_{t+1}, & \lambda_{t-1} &= D_t \tilde L_t + \bar A^\top \lambda_t, &
    q_t &= \psi_t \tilde L_t + \bar B \cdot \lambda_t
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.ops import reverse_filter, walk
from tracetorch.ops.entries import Entry
from tracetorch.traces.backward import combine, pull, pull_recurrent
from tracetorch.traces.window import Window


@dataclass(frozen=True)
class Back:
    """Hold what the way back found.

    Args:
        drive: cotangents of the currents by which the weights are credited, `[T, B, *unit]`.
        own: the same by the neuron's true blocks, by which biases are credited.
        states: cotangents of the states after each step, S entries; empty where they were not asked for.
        signal: filtered cotangents of the outputs, `[T, B, *unit]`; not to be read without the states.
        start: cotangents of the carried rows, `[rows, B, *unit]`.
        below: psi times the cotangents of the outputs, of their shape, where it was asked for and came for free.
    """

    drive: Tensor
    own: Tensor
    states: Sequence[Entry]
    signal: Tensor
    start: Tensor
    below: Tensor | None = None


def go_back(
    window: Window, z_bar: Tensor, raw: Tensor | None, carry: Tensor, *, states: bool = True, sent: bool = False
) -> Back:
    """Carry cotangents back through a window.

    Args:
        window: the window.
        z_bar: cotangents of the outputs, `[T, B, *unit]`, or `[1, B, *unit]` for the last alone.
        raw: the same for the outputs before the filter, for a rate term; None for none.
        carry: cotangents of the carried rows after the window, `[rows, B, *unit]`.
        states: whether the states' cotangents are wanted.
        sent: whether psi times the cotangents of the outputs is wanted.

    Returns:
        What was found.
    """
    recurrent = window.plan.window_credit and len(window.afferents) > 1
    if window.record.backend == "reference" or raw is not None or window.plan.approximate or recurrent:
        return _reference(
            window, padded(z_bar, window.steps), None if raw is None else padded(raw, window.steps), carry
        )
    return _walked(window, z_bar, carry, states=states, sent=sent)


def padded(events: Tensor, steps: int) -> Tensor:
    """Return cotangents of the last steps, `[E, B, ...]`, as those of all, the others zero."""
    if events.shape[0] == steps:
        return events
    out = events.new_zeros(steps, *events.shape[1:])
    out[steps - events.shape[0] :] = events
    return out


def _walked(window: Window, z_bar: Tensor, carry: Tensor, *, states: bool, sent: bool) -> Back:
    plan, size, record = window.plan, window.size, window.record
    linked = plan.storage != "none" or plan.window_credit
    rows = (window.batch, math.prod(window.unit))
    lam = carry[:size].reshape(size, *rows) if linked else carry.new_zeros(size, *carry.shape[1:]).reshape(size, *rows)
    filtered = carry[size].reshape(rows) if plan.filtered else torch.zeros_like(lam[0])
    found = walk.reverse(
        record.backend,
        record.step,
        [x.reshape(rows) for x in record.s],
        record.drive.reshape(window.steps, *rows),
        params=record.step_params(),
        signal=z_bar.reshape(z_bar.shape[0], *rows),
        carry=(lam, filtered, float(window.values.filter) if plan.filtered else 0.0),
        linked=linked,
        history=states,
        sent=sent,
    )
    start = torch.zeros_like(carry)
    if linked:
        start[:size] = window.kept(found.start.view(size, window.batch, *window.unit))
    if plan.filtered:
        start[size] = window.kept(found.leaving.view(carry.shape[1:]))
    shape = record.drive.shape
    drive = found.drive.view(shape)
    history = [x.view(shape) for x in found.states] if states else []
    signal = found.signal.view(shape) if states else drive
    return Back(drive, drive, history, signal, start, found.below.view(z_bar.shape) if sent else None)


def _reference(window: Window, signal: Tensor, raw: Tensor | None, carry: Tensor) -> Back:
    plan, size = window.plan, window.size
    linked = plan.storage != "none" or plan.window_credit
    offset = size * (2 if plan.approximate else 1)
    start = torch.zeros_like(carry)
    if plan.filtered:
        signal, leaving = reverse_filter(signal, window.values.filter, carry[offset])
        start[offset] = window.kept(leaving)
    if raw is not None:
        signal = signal + raw
    none: list[Entry] = [None] * size
    if not linked:
        drive = _whole(combine(window.blocks.psi, none, signal, none, rank=window.rank), signal)
        return Back(drive, drive, none, signal, start)
    last: list[Entry] = [carry[j] for j in range(size)]
    if plan.window_credit and len(window.afferents) > 1:
        synapse = window.afferents[1].synapse
        pulled, signal, fed = pull_recurrent(
            window.blocks, signal, [*last, carry[offset]], window.steps, synapse=synapse
        )
        start[offset] = window.kept(fed)
    else:
        pulled = pull(window.weight_blocks, signal, last, window.steps, rank=window.rank)
    _put(start, 0, pulled.start, window)
    drive = _whole(pulled.drive, signal)
    if not plan.approximate:
        return Back(drive, drive, pulled.states, signal, start)
    own = pull(window.blocks, signal, [carry[size + j] for j in range(size)], window.steps, rank=window.rank)
    _put(start, size, own.start, window)
    return Back(drive, _whole(own.drive, signal), own.states, signal, start)


def _whole(entry: Entry, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if entry is None else entry.expand(like.shape)


def _put(start: Tensor, offset: int, before: Sequence[Entry], window: Window) -> None:
    for j, value in enumerate(before):
        if value is not None:
            start[offset + j] = window.kept(value)
