r"""Advance the traces over a whole window at once: the chunkwise form.

With the ordered products :math:`\Pi_s = A_C \cdots A_{s+1}`, one row of which is the reverse pass of a unit cotangent:

.. math:: E_C = \Pi_0 E_0 + \sum_s (\Pi_s B_s) \otimes x_s, \qquad E^\varphi_C = \Pi_0 E^\varphi_0 + \sum_s \Pi_s P_s

The output filters are rows of the same products.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracetorch.neurons.blocks import Blocks
from tracetorch.ops import power_weights
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
    like = window.afferents[0].x.new_empty(()) if window.blocks.psi is None else window.blocks.psi
    decays = [as_scalar(d, like) for d in filter_decays(window)]
    size = len(window.blocks.B)
    new = Traces()
    parameters = window.blocks.Q if window.plan.traces_neuron else {}
    shared = not window.plan.approximate
    true = _rows(window.blocks, window, decays, states=True) if parameters or window.plan.storage == "full" else None
    for name in parameters:
        new.neuron[name] = _parameter(old.neuron.get(name), name, window, true, decays)
    if window.plan.storage not in ("pre", "full"):
        return new
    for i, afferent in enumerate(window.afferents):
        held = old.weight[i] if i < len(old.weight) else []
        filtered = old.filtered[i] if i < len(old.filtered) else []
        if not afferent.traced:
            new.weight.append([])
            new.filtered.append([])
            continue
        if window.plan.storage == "full":
            rows = _full(held + filtered, afferent, window, true, decays)
            new.weight.append(rows[:size])
            new.filtered.append(rows[size:])
            continue
        if decays:
            own = true if shared and true is not None else _rows(window.weight_blocks, window, decays, states=False)
            new.filtered.append(_filtered(held, filtered, afferent, window, own, decays))
        else:
            new.filtered.append([])
        new.weight.append(_presynaptic(held, afferent, window))
    return new


class _Rows:
    """The reverse pass of unit cotangents: one row per state and filter."""

    def __init__(self, pulled: Pulled, z_bar: Entry, offset: int) -> None:
        self.pulled, self.z_bar, self.offset = pulled, z_bar, offset


def _rows(blocks: Blocks, window: Window, decays: list[Tensor], *, states: bool) -> _Rows:
    size, steps = len(blocks.B), window.steps
    like = next(x for x in (blocks.psi, *blocks.B) if x is not None)
    count = (size if states else 0) + len(decays)
    ones = [1] * (1 + len(window.unit))
    s_bar: list[Entry] = [None] * size
    if states:
        s_bar = [like.new_zeros(count, *ones) for _ in range(size)]
        for j, row in enumerate(s_bar):
            if row is not None:
                row[j] = 1
    z_bar: Entry = None
    if decays:
        exponents = torch.arange(steps - 1, -1, -1, device=like.device, dtype=like.dtype)
        powers = [torch.where(exponents == 0, torch.ones_like(exponents), d**exponents) for d in decays]
        columns = [torch.zeros_like(exponents)] * (count - len(decays)) + powers
        z_bar = torch.stack(columns, dim=1).reshape(steps, count, *ones)
    pulled = pull(blocks, z_bar, s_bar, steps, rank=window.rank, rows=True)
    return _Rows(pulled, z_bar, size if states else 0)


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
    blocks, size = window.blocks, len(window.blocks.B)
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
    size = len(window.blocks.B)
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
    for target, total in zip(held, fresh, strict=True):
        target.copy_(total)
    return held


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
            total = filtered[k].mul_(factor).add_(total)
        for state, trace in enumerate(held):
            start = _start(rows, state, row, window)
            if start is not None:
                past = synapse.patches(trace).unsqueeze(0)
                total = total.add_(synapse.outer(synapse.units(start).unsqueeze(0), past))
        out.append(total)
    return out


def _presynaptic(held: list[Tensor], afferent: Afferent, window: Window) -> list[Tensor]:
    transition, drive = window.values.transition, window.values.drive
    if transition is None or drive is None:
        return held
    x = afferent.x
    features = afferent.synapse.features(x.reshape(-1, *x.shape[2:]))
    features = features.reshape(*x.shape[:2], *features.shape[1:])
    transition, drive = transition.to(features), drive.to(features)
    weights, power = power_weights(transition, drive, window.steps)
    fresh = [torch.tensordot(weights[:, i], features, dims=1) for i in range(drive.shape[0])]
    if not held:
        return fresh
    row_shape = (-1, *[1] * (fresh[0].dim() - 1))
    keep = None if window.keep is None else window.keep.to(features.dtype).reshape(row_shape)
    past = held if keep is None else [x * keep for x in held]
    return [
        f + sum((power[i, j] * past[j] for j in range(len(past))), torch.zeros_like(f)) for i, f in enumerate(fresh)
    ]
