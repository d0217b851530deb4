r"""The factor rule's averages and its credit.

.. math:: \Delta W = \sum_t (\bar h_t \odot L_t) \otimes \bar x_t
    = \sum_s \Big(\sum_{t \ge s} a^{t-s}\, \bar h_t \odot L_t / w_t\Big) \otimes x_s

The second form, a filter that goes back in time, serves windows with an event at every step, so that no history of
averaged inputs is kept; the first serves the last event alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tracetorch.ops import walk
from tracetorch.traces.averages import Averages
from tracetorch.traces.back import Back, go_back
from tracetorch.traces.backward import combine, require_first_derivative, sum_to
from tracetorch.traces.instant import Call, given_out, require_finite, scaled, send_below
from tracetorch.traces.window import BIAS, Afferent, Window


class _Factor(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, call: Call, averages: Averages, carry: Tensor, x: Tensor, way_back: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.call, ctx.averages = call, averages
        ctx.save_for_backward(x if ctx.needs_input_grad[3] else None, way_back)
        ctx.likes = [p.detach() for p in parameters]
        return given_out(call), carry.view_as(carry)

    @staticmethod
    def backward(ctx: Any, z_bar: Tensor, carry_bar: Tensor) -> tuple[Tensor | None, ...]:
        require_first_derivative()
        call: Call = ctx.call
        averages: Averages = ctx.averages
        window = call.window
        require_finite(call.finite, z_bar)
        z_bar = z_bar.to(window.record.drive.dtype)
        x, way_back = ctx.saved_tensors
        events = z_bar.unsqueeze(0) if call.last else z_bar
        wants_x = ctx.needs_input_grad[3]
        if events.shape[0] == 1 or window.plan.sequence:
            h = averages.sensitivity()
            signal = scaled(h, events, window)
            x_bar = send_below(call, signal, x, way_back) if wants_x else None
            if window.plan.sequence:
                events = events.sum(0, keepdim=True)
                signal = h * events
            grads = _last(window, averages, signal[0])
        else:
            sent = wants_x or any(name.startswith(BIAS) for name in call.names)
            grads, signal = _every(window, averages, events, sent=sent)
            x_bar = send_below(call, signal, x, way_back) if wants_x else None
        start = _neuron(call, averages, signal, events, carry_bar, grads, ctx.likes)
        return (None, None, start, x_bar, None, *grads)


def _summed(afferent: Afferent, rows: Sequence[Tensor], signal: Tensor, mask: Tensor | None) -> list[Tensor]:
    """Return the weights' gradients from features by bucket, `[G, B, *features]`, and a signal per unit."""
    total: list[Tensor] = []
    for g, features in enumerate(rows):
        part = signal if mask is None else signal * mask[g]
        found = afferent.synapse.weight_grad(features, part)
        total = list(found) if not total else [a + b for a, b in zip(total, found, strict=True)]
    return total


def _last(window: Window, averages: Averages, signal: Tensor) -> list[Tensor | None]:
    """Return the weights' gradients where there is one event, at the window's end, from the signal `[B, *unit]`."""
    grads: list[Tensor | None] = []
    for i, afferent in enumerate(window.afferents):
        if afferent.traced:
            grads += _summed(afferent, tuple(averages.features(i)), signal, averages.mask)
        else:
            grads += [None] * len(afferent.synapse.weights())
    return grads


def _every(window: Window, averages: Averages, events: Tensor, *, sent: bool) -> tuple[list[Tensor | None], Tensor]:
    """Return the weights' gradients where every step is an event, `[T, B, *unit]`, and the signals per unit."""
    filtered, leaving, signal = walk.credit_back(
        window.record.backend,
        events,
        (averages.h, averages.h_weight),
        averages.x_weight,
        averages.bucket,
        averages.decays.to(events),
        sent=sent,
    )
    grads: list[Tensor | None] = []
    for i, afferent in enumerate(window.afferents):
        if not afferent.traced:
            grads += [None] * len(afferent.synapse.weights())
            continue
        found = list(afferent.weight_grad(filtered.reshape(-1, *window.unit)))
        if averages.start is not None:
            past = _summed(afferent, tuple(averages.start[i]), leaving, averages.mask)
            found = [a + b for a, b in zip(found, past, strict=True)]
        grads += found
    return grads, signal


def _neuron(
    call: Call,
    averages: Averages,
    signal: Tensor,
    events: Tensor,
    carry: Tensor,
    grads: list[Tensor | None],
    likes: list[Tensor],
) -> Tensor:
    """Append the gradients of biases and neuron parameters, and return the carried rows' cotangents."""
    window = call.window
    back: Back | None = None
    for name in call.names:
        if name.startswith(BIAS):
            grads.append(sum_to(signal, likes[len(grads)]))
            continue
        if back is None:
            weight = averages.h_weight[-events.shape[0] :]
            weight = weight.reshape(*weight.shape, *[1] * len(window.unit))
            back = go_back(window, events / weight, None, carry)
        found = combine(window.blocks.Q[name], window.blocks.P[name], back.signal, back.states, rank=window.rank)
        grads.append(None if found is None else sum_to(found, likes[len(grads)]))
    return torch.zeros_like(carry) if back is None else back.start


def factor(
    call: Call, averages: Averages, carry: Tensor, *, x: Tensor, way_back: Tensor, parameters: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Give out a window's values with the factor rule's credit attached.

    Args:
        call: how the node is used.
        averages: the averages at the window's events.
        carry: carried rows, `[rows, B, *unit]`, as `attach` gives them.
        x: inputs with their graph, `[T, B, *in]`, or `[B, *in]` where `call.last`.
        way_back: weight or feedback through which credit goes below; empty for what the synapse has itself.
        parameters: as in `attach`.

    Returns:
        The output, and the rows to carry on.
    """
    return _Factor.apply(call, averages, carry, x, way_back, *parameters)  # type: ignore[no-any-return]
