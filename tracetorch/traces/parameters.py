r"""Eligibilities of biases and neuron parameters: the same under every rule that traces.

.. math:: e^\varphi = D E^\varphi + Q, \qquad E^\varphi \leftarrow A E^\varphi + P

Over a window of C steps, with the rows of ordered products that the reverse pass of unit cotangents gives:

.. math:: E^\varphi_C = \Pi_0 E^\varphi_0 + \sum_s \Pi_s P_s

The states of the filter above the outputs are further rows of the same products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tracetorch.backends import Gradients
from tracetorch.traces.window import Traces, Window, per_current


def advance_parameters(
    held: Mapping[str, list[Tensor]], window: Window, rows: Sequence[Gradients], names: Sequence[str]
) -> dict[str, list[Tensor]]:
    """Return the eligibilities of some biases and neuron parameters after a window, S + M rows `[B, *unit]` by name.

    `held` are those before it, none after a reset, and `rows` the reverse passes of as many unit cotangents.
    """
    new: dict[str, list[Tensor]] = {}
    for name in names:
        past = held.get(name)
        new[name] = [_row(past, name, window, row) for row in rows]
    return new


def _row(held: list[Tensor] | None, name: str, window: Window, row: Gradients) -> Tensor:
    total = row.current.sum(0) if name in window.biases else row.parameters[name]
    for factor, past in zip(starts(row, window), held or (), strict=False):
        total = total + per_current(factor, 1, _currents(past, factor)) * past
    return total


def _currents(held: Tensor, unit: Tensor) -> int:
    """Return how many currents a bias's eligibility, `[B, (C,) *unit]`, stands for."""
    return held.shape[1] if held.dim() > unit.dim() else 1


def starts(row: Gradients, window: Window) -> list[Tensor]:
    """Return what a row owes to states, filter states and recurrent outputs before the window, `[B, *unit]` each."""
    parts = [row.s] if row.level is None else [row.s, row.level]
    fed = [] if row.fed is None else [row.fed]
    return [window.masked(x) for x in (*(x for part in parts for x in part.unbind(0)), *fed)]


def contract_parameter(traces: Traces, name: str, bar: Tensor) -> Tensor | None:
    """Return a parameter's gradient, `[B, *unit]`, from cotangents of the rows; None where nothing is carried."""
    rows = traces.neuron.get(name)
    if not rows:
        return None
    count = _currents(rows[0], bar[0])
    return sum((per_current(bar[k], 1, count) * row for k, row in enumerate(rows)), torch.zeros_like(rows[0]))
