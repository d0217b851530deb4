r"""Credit of a window in which what goes below is instantaneous: one node for a whole scan.

.. math::
    \tilde L_t &= L_t + \kappa \tilde L_{t+1}, & \lambda_{t-1} &= D_t \tilde L_t + \bar A^\top \lambda_t \\
    q_t &= \psi_t \tilde L_t + \bar B \cdot \lambda_t, &
    \Delta W &= \sum_t q_t \otimes x_t + \langle \lambda_0, E_0 \rangle

and apart from it what is sent below, :math:`\mathrm{synapse}^\top (c_t \odot L_t)`, with the unfiltered signal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tracetorch.ops import reverse_filter
from tracetorch.ops.entries import Entry
from tracetorch.traces.backward import combine, pull, pull_recurrent, sum_to
from tracetorch.traces.window import Window


@dataclass(frozen=True)
class Call:
    """Say how one credit node is used.

    Args:
        window: what the forward left.
        output: the values to give out, `[T, B, *unit]`, or `[B, *unit]` for the last alone.
        gain: what scales the signal sent below, broadcasting to `[T, B, *unit]`.
        last: whether only the last output carries a cotangent.
        names: names of biases and neuron parameters, in the order in which they are given.
        finite: whether to refuse cotangents that are not finite.
    """

    window: Window
    output: Tensor
    gain: Tensor
    last: bool
    names: tuple[str, ...]
    finite: bool


class _Instant(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, call: Call, carry: Tensor, x: Tensor, way_back: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.call = call
        ctx.save_for_backward(x if ctx.needs_input_grad[2] else None, way_back)
        ctx.likes = [p.detach() for p in parameters]
        raw = call.output.clone() if call.window.counted else call.output.new_empty(0)
        return call.output.clone(), raw, carry.view_as(carry)

    @staticmethod
    def backward(ctx: Any, z_bar: Tensor, raw_bar: Tensor, carry_bar: Tensor) -> tuple[Tensor | None, ...]:
        call: Call = ctx.call
        window = call.window
        through = window.plan.window_credit
        require_finite(call.finite, z_bar)
        z_bar = z_bar.to(window.record.drive.dtype)
        x, way_back = _saved(ctx, window)
        signal = padded(z_bar, window.steps) if call.last else z_bar
        raw = None
        if window.counted and raw_bar is not None:
            raw = padded(raw_bar, window.steps) if call.last else raw_bar
        grads, start, drive = _credit(call, signal, raw, carry_bar, ctx.likes)
        x_bar = None
        if ctx.needs_input_grad[2]:
            x_bar = send_below(
                replace(call, gain=drive.new_ones(())) if through else call, drive if through else z_bar, x, way_back
            )
        return (None, start, x_bar, None, *grads)


def _saved(ctx: Any, window: Window) -> tuple[Tensor, Tensor]:
    try:
        x, way_back = ctx.saved_tensors
    except RuntimeError as freed:
        if window.plan.storage != "graph" or "second time" not in str(freed):
            raise
        raise RuntimeError(
            "rule 'bptt' keeps one graph over all calls since tt.reset, and an earlier backward has freed it: sum the "
            "losses of the sequence and call backward once, or take a rule that learns at every step "
            "(tt.rules.trace(), eprop(), ottt(), ...)"
        ) from freed
    return x, way_back


def _credit(
    call: Call, signal: Tensor, raw: Tensor | None, carry: Tensor, likes: list[Tensor]
) -> tuple[list[Tensor | None], Tensor, Tensor]:
    window = call.window
    plan, blocks, size = window.plan, window.blocks, len(window.blocks.B)
    traced = plan.storage != "none" or plan.window_credit
    offset = size * (2 if plan.approximate else 1)
    start = torch.zeros_like(carry)
    if plan.filtered:
        signal, leaving = reverse_filter(signal, window.values.filter, carry[offset])
        start[offset] = window.kept(leaving)
    if raw is not None:
        signal = signal + raw
    last = [None] * size if not traced else [carry[j] for j in range(size)]
    weight_blocks = window.weight_blocks
    no_past: list[Entry] = [None] * size
    recurrent = window.afferents[1].synapse if plan.window_credit and len(window.afferents) > 1 else None
    if traced:
        if recurrent is None:
            pulled = pull(weight_blocks, signal, last, window.steps, rank=window.rank)
        else:
            pulled, signal, fed = pull_recurrent(
                blocks, signal, [*last, carry[offset]], window.steps, synapse=recurrent
            )
            start[offset] = window.kept(fed)
        drive, states, before = pulled.drive, pulled.states, pulled.start
        _put(start, 0, before, window)
        if plan.approximate:
            own = pull(blocks, signal, [carry[size + j] for j in range(size)], window.steps, rank=window.rank)
            states = own.states
            _put(start, size, own.start, window)
    else:
        drive, states = combine(blocks.psi, no_past, signal, no_past, rank=window.rank), no_past
    grads: list[Tensor | None] = []
    for afferent in window.afferents:
        weights = afferent.synapse.weights()
        if not afferent.traced or drive is None:
            grads += [None] * len(weights)
            continue
        grads += afferent.synapse.weight_grad(
            afferent.synapse.features(afferent.x.reshape(-1, *afferent.x.shape[2:])),
            drive.reshape(-1, *window.unit),
        )
    for name in call.names:
        value = combine(blocks.Q[name], blocks.P[name], signal, states, rank=window.rank)
        grads.append(None if value is None else sum_to(value, likes[len(grads)]))
    return grads, start, torch.zeros_like(signal) if drive is None else drive


def _put(start: Tensor, offset: int, before: Any, window: Window) -> None:
    for j, value in enumerate(before):
        if value is not None:
            start[offset + j] = window.kept(value)


def padded(last: Tensor, steps: int) -> Tensor:
    """Return `[B, ...]` as the last of `steps` steps, the others zero."""
    if steps == 1:
        return last.unsqueeze(0)
    out = last.new_zeros(steps, *last.shape)
    out[-1] = last
    return out


def send_below(call: Call, z_bar: Tensor, x: Tensor, way_back: Tensor) -> Tensor:
    """Return the cotangent of the input: the signal, scaled per unit, back through the synapse."""
    gain = call.gain
    window = call.window
    if gain.dim() == window.rank and call.last:
        gain = gain[-1]
    scaled = (gain * z_bar).expand(z_bar.shape)
    lead = 1 if call.last else 2
    synapse = window.afferents[0].synapse
    flat = synapse.input_grad(
        scaled.reshape(-1, *window.unit),
        x.reshape(-1, *x.shape[lead:]).to(scaled.dtype),
        way_back.to(scaled.dtype) if way_back.numel() else None,
    )
    return flat.reshape(x.shape)


def require_finite(wanted: bool, z_bar: Tensor) -> None:
    """Raise FloatingPointError where a cotangent is NaN or infinite and the check is on."""
    if wanted and not bool(torch.isfinite(z_bar.sum())) and not bool(torch.isfinite(z_bar).all()):
        raise FloatingPointError(
            "the gradient that reached this layer has NaN or infinity in it: the loss, or a module between it and the "
            "layer, is not finite; no gradient was written. tt.check_finite(net, False) turns this check off"
        )


def instant(call: Call, carry: Tensor, x: Tensor, way_back: Tensor, parameters: list[Tensor]) -> tuple[Tensor, ...]:
    """Give out a window's values with their credit attached.

    Args:
        call: how the node is used.
        carry: carried rows, `[rows, B, *unit]`, as `attach` gives them.
        x: inputs with their graph, `[T, B, *in]`, or `[B, *in]` where `call.last`.
        way_back: weight or feedback through which credit goes below; empty for what the synapse has itself.
        parameters: as in `attach`.

    Returns:
        The output; the same without the filter, for a rate term; the rows to carry on.
    """
    return _Instant.apply(call, carry, x, way_back, *parameters)  # type: ignore[no-any-return]
