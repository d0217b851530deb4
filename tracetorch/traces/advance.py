r"""Advance the traces over a whole window at once: the chunkwise form.

With the ordered products :math:`\Pi_s = A_C \cdots A_{s+1}`, one row of which is the reverse pass of a unit cotangent:

.. math:: E_C = \Pi_0 E_0 + \sum_s (\Pi_s B_s) \otimes x_s, \qquad E^\varphi_C = \Pi_0 E^\varphi_0 + \sum_s \Pi_s P_s

The output filters are rows of the same products.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tracetorch.ops import power_weights, walk
from tracetorch.ops.entries import Entry
from tracetorch.traces.backward import Pulled, combine, pull
from tracetorch.traces.window import Afferent, Traces, Window, as_scalar, filter_decays


def advance(traces: Traces | None, window: Window) -> Traces:
    """Carry traces over a window, in place where they are large.

    Args:
        traces: the traces at the window's start, or None after a reset.
        window: the window.

    Returns:
        The traces at its end.
    """
    old = Traces() if traces is None else traces
    like = window.record.drive
    decays = [as_scalar(d, like) for d in filter_decays(window)]
    plan, size = window.plan, window.size
    new = Traces()
    parameters = (*window.record.biases, *window.learned) if plan.traces_neuron else ()
    if plan.storage == "pre" and not (plan.approximate or decays or window.learned):
        parameters = ()
        for name in window.record.biases if plan.traces_neuron else ():
            new.neuron[name] = _constant(old.neuron.get(name), window)
    true = _rows(window, decays, states=True) if parameters or plan.storage == "full" else None
    for name in parameters:
        new.neuron[name] = _parameter(old.neuron.get(name), name, window, true, decays)
    if plan.storage not in ("pre", "full"):
        return new
    for i, afferent in enumerate(window.afferents):
        held = old.weight[i] if i < len(old.weight) else []
        filtered = old.filtered[i] if i < len(old.filtered) else []
        if not afferent.traced:
            new.weight.append([])
            new.filtered.append([])
            continue
        if plan.storage == "full":
            rows = _full(held + filtered, afferent, window, true, decays)
            new.weight.append(rows[:size])
            new.filtered.append(rows[size:])
            continue
        if decays:
            own = true if not plan.approximate and true is not None else _rows(window, decays, states=False)
            new.filtered.append(_filtered(held, filtered, afferent, window, own, decays))
        else:
            new.filtered.append([])
        new.weight.append(_presynaptic(held, afferent, window))
    return new


class _Rows:
    """The reverse pass of unit cotangents: one row per state and filter."""

    def __init__(self, pulled: Pulled, z_bar: Entry, offset: int) -> None:
        self.pulled, self.z_bar, self.offset = pulled, z_bar, offset


def _rows(window: Window, decays: list[Tensor], *, states: bool) -> _Rows:
    """Return the reverse pass of unit cotangents: by the true blocks for the states, by the weights' own without."""
    size, steps, like = window.size, window.steps, window.record.drive
    offset = size if states else 0
    count = offset + len(decays)
    z_bar = _levels(window, decays, offset)
    exact = not window.plan.approximate
    if not exact and not states:
        blocks = window.weight_blocks
    elif window.record.backend != "reference":
        return _Rows(_walked(window, decays, offset), z_bar, offset)
    else:
        blocks = window.weight_blocks if exact and not window.learned else window.blocks
    s_bar: list[Entry] = [None] * size
    if states:
        ones = [1] * (1 + len(window.unit))
        s_bar = [like.new_zeros(count, *ones) for _ in range(size)]
        for j, row in enumerate(s_bar):
            if row is not None:
                row[j] = 1
    return _Rows(pull(blocks, z_bar, s_bar, steps, rank=window.rank, rows=True), z_bar, offset)


def _levels(window: Window, decays: list[Tensor], offset: int) -> Entry:
    """Return the cotangents of the outputs by row: powers of each filter's decay, `[T, R, 1, ...]`."""
    if not decays:
        return None
    like, steps = window.record.drive, window.steps
    exponents = torch.arange(steps - 1, -1, -1, device=like.device, dtype=like.dtype)
    powers = [torch.where(exponents == 0, torch.ones_like(exponents), d**exponents) for d in decays]
    columns = [torch.zeros_like(exponents)] * offset + powers
    return torch.stack(columns, dim=1).reshape(steps, len(columns), *[1] * (1 + len(window.unit)))


def _walked(window: Window, decays: list[Tensor], offset: int) -> Pulled:
    """Return the reverse pass of unit cotangents by a compiled kernel, row by row."""
    size, rows = window.size, (window.batch, math.prod(window.unit))
    record, like = window.record, window.record.drive
    s = [x.reshape(rows) for x in record.s]
    drive = like.reshape(window.steps, *rows)
    silent = like.new_zeros(1, *rows)
    found = []
    for row in range(offset + len(decays)):
        lam, level, decay = like.new_zeros(size, *rows), like.new_zeros(rows), 0.0
        if row < offset:
            lam[row] = 1
        else:
            level += 1
            decay = float(decays[row - offset])
        found.append(
            walk.reverse(
                record.backend,
                record.step,
                s,
                drive,
                params=record.step_params(),
                signal=silent,
                carry=(lam, level, decay),
                history=bool(window.learned),
            )
        )
    shape = (window.steps, len(found), window.batch, *window.unit)
    histories = [
        torch.stack([f.states[j] for f in found], dim=1).view(shape) if window.learned else None for j in range(size)
    ]
    start = [torch.stack([f.start[j] for f in found]).view(shape[1:]) for j in range(size)]
    return Pulled(torch.stack([f.drive for f in found], dim=1).view(shape), histories, start)


def _start(rows: _Rows, state: int, row: int, window: Window) -> Entry:
    entry = rows.pulled.start[state]
    if entry is None:
        return None
    return window.kept(entry[row if entry.shape[0] > 1 else 0].expand(window.batch, *window.unit))


def _filter_start(decay: Tensor, window: Window) -> Tensor:
    power = decay**window.steps
    return window.kept(power.expand(window.batch, *window.unit))


def _parameter(
    held: list[Tensor] | None, name: str, window: Window, rows: _Rows | None, decays: list[Tensor]
) -> list[Tensor]:
    if rows is None:
        return []
    size = window.size
    if name in window.record.biases:
        inside = rows.pulled.drive
    else:
        blocks = window.blocks
        inside = combine(blocks.Q[name], blocks.P[name], rows.z_bar, rows.pulled.states, rank=window.rank, rows=True)
    shape = (window.batch, *window.unit)
    out = []
    for row in range(size + len(decays)):
        total = window.record.drive.new_zeros(shape) if inside is None else inside[:, row].sum(0).expand(shape)
        if held:
            for state in range(size):
                factor = _start(rows, state, row, window)
                if factor is not None:
                    total = total + factor * held[state]
            if row >= size:
                total = total + _filter_start(decays[row - size], window) * held[row]
        out.append(total)
    return out


def _drive(rows: _Rows, row: int, window: Window) -> Tensor:
    drive = rows.pulled.drive
    shape = (window.steps, window.batch, *window.unit)
    if drive is None:
        return window.afferents[0].x.new_zeros(shape)
    return drive[:, row].expand(shape)


def _units(afferent: Afferent, value: Tensor) -> Tensor:
    """Return `[T, B, *unit]` as `[T, B, G, O, L]`."""
    flat = afferent.synapse.units(value.reshape(-1, *value.shape[2:]))
    return flat.reshape(*value.shape[:2], *flat.shape[1:])


def window_patches(afferent: Afferent) -> Tensor:
    """Return the window's features per position, `[T, B, G, L, K]`."""
    x = afferent.x
    synapse = afferent.synapse
    flat = synapse.patches(synapse.features(x.reshape(-1, *x.shape[2:])))
    return flat.reshape(*x.shape[:2], *flat.shape[1:])


def _full(
    held: list[Tensor], afferent: Afferent, window: Window, rows: _Rows | None, decays: list[Tensor]
) -> list[Tensor]:
    if rows is None:
        return []
    size = window.size
    if afferent.sparse and size == 1 and not decays:
        return [_by_events(held, afferent, window, rows)]
    patches = window_patches(afferent)
    fresh = [
        afferent.synapse.outer(_units(afferent, _drive(rows, row, window)), patches)
        for row in range(size + len(decays))
    ]
    if not held:
        return fresh
    for row, total in enumerate(fresh):
        for state in range(size):
            factor = _start(rows, state, row, window)
            if factor is not None:
                total.addcmul_(afferent.synapse.units(factor).unsqueeze(-1), held[state])
        if row >= size:
            factor = _filter_start(decays[row - size], window)
            total.addcmul_(afferent.synapse.units(factor).unsqueeze(-1), held[row])
    if torch.compiler.is_compiling():  # a graph keeps what its backward reads apart from what it is given
        return fresh
    for target, total in zip(held, fresh, strict=True):
        target.copy_(total)
    return held


def _by_events(held: list[Tensor], afferent: Afferent, window: Window, rows: _Rows) -> Tensor:
    """Return the one eligibility of a dense synapse, `[B, 1, N, 1, K]`, carried by the events of its input."""
    shape = (window.batch, 1, *window.unit, 1, afferent.x.shape[-1])
    trace = held[0] if held else afferent.x.new_zeros(shape)
    start = _start(rows, 0, 0, window)
    factor = torch.zeros_like(window.record.s[0]) if start is None else start
    walk.carry_full(afferent.x, _drive(rows, 0, window), factor, trace.view(shape[0], shape[2], shape[4]))
    torch.autograd.graph.increment_version(trace)
    return trace


def _filtered(
    held: list[Tensor],
    filtered: list[Tensor],
    afferent: Afferent,
    window: Window,
    rows: _Rows,
    decays: list[Tensor],
) -> list[Tensor]:
    synapse = afferent.synapse
    patches = window_patches(afferent)
    out = []
    for k, decay in enumerate(decays):
        row = rows.offset + k
        total = synapse.outer(_units(afferent, _drive(rows, row, window)), patches)
        if filtered:
            factor = synapse.units(_filter_start(decay, window)).unsqueeze(-1)
            past = filtered[k] * factor if torch.compiler.is_compiling() else filtered[k].mul_(factor)
            total = past.add_(total)
        for state, trace in enumerate(held):
            start = _start(rows, state, row, window)
            if start is not None:
                features = synapse.patches(trace).unsqueeze(0)
                total = total.add_(synapse.outer(synapse.units(start).unsqueeze(0), features))
        out.append(total)
    return out


def _constant(held: list[Tensor] | None, window: Window) -> list[Tensor]:
    """Return a bias's eligibility where A and B are constant: the presynaptic trace of an input that is always one."""
    transition, drive = window.values.transition, window.values.drive
    if transition is None or drive is None:
        return []
    weights, power = power_weights(transition, drive, window.steps)
    shape = (window.batch, *window.unit)
    fresh = [total.expand(shape).contiguous() for total in weights.sum(0)]
    if not held:
        return fresh
    past = [window.kept(x) for x in held]
    return [f + sum(power[i, j] * past[j] for j in range(len(past))) for i, f in enumerate(fresh)]


def _presynaptic(held: list[Tensor], afferent: Afferent, window: Window) -> list[Tensor]:
    transition, drive = window.values.transition, window.values.drive
    if transition is None or drive is None:
        return held
    weights, power = power_weights(transition, drive, window.steps)
    if afferent.fresh is not None:
        fresh = list(afferent.fresh)
    else:
        features = afferent.features()
        features = features.reshape(window.steps, -1, *features.shape[1:])
        weights = weights.to(features)
        fresh = [torch.tensordot(weights[:, i], features, dims=1) for i in range(drive.shape[0])]
    if not held:
        return fresh
    row_shape = (-1, *[1] * (fresh[0].dim() - 1))
    keep = None if window.keep is None else window.keep.to(fresh[0].dtype).reshape(row_shape)
    past = held if keep is None else [x * keep for x in held]
    return [
        f + sum((power[i, j] * past[j] for j in range(len(past))), torch.zeros_like(f)) for i, f in enumerate(fresh)
    ]
