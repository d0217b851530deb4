r"""Credit of a window: one node for a whole scan.

.. math:: \Delta W = \sum_t q_t \otimes x_t + \langle \lambda_0, E_0 \rangle

with `q` of the way back, and apart from it what is sent below: :math:`\mathrm{synapse}^\top (c_t \odot L_t)` with the
unfiltered signal where credit is instantaneous, :math:`\mathrm{synapse}^\top q_t` where it is the window's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracetorch.ops.pool import into_pool
from tracetorch.traces.back import Back, go_back
from tracetorch.traces.backward import combine, require_first_derivative, sum_to
from tracetorch.traces.window import BIAS, Window


@dataclass(frozen=True)
class Call:
    """Say how one credit node is used.

    Args:
        window: what the forward left.
        output: the values to give out, `[T, B, *unit]`, or `[B, *unit]` for the last alone.
        gain: what scales the signal sent below, broadcasting to `[T, B, *unit]`; None for psi.
        last: whether only the last output carries a cotangent.
        names: names of biases and neuron parameters, in the order in which they are given.
        finite: whether to refuse cotangents that are not finite.
    """

    window: Window
    output: Tensor
    gain: Tensor | None
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
        return given_out(call), raw, carry.view_as(carry)

    @staticmethod
    def backward(ctx: Any, z_bar: Tensor, raw_bar: Tensor, carry_bar: Tensor) -> tuple[Tensor | None, ...]:
        require_first_derivative()
        call: Call = ctx.call
        window = call.window
        require_finite(call.finite, z_bar)
        z_bar = z_bar.to(window.record.drive.dtype)
        x, way_back = _saved(ctx, window)
        raw = raw_bar if window.counted and raw_bar is not None else None
        if call.last:
            z_bar, raw = z_bar.unsqueeze(0), None if raw is None else raw.unsqueeze(0)
        learned = [n for n in call.names if not n.startswith(BIAS)]
        wants_x = ctx.needs_input_grad[2]
        instantaneous = call.gain is None and not window.plan.window_credit
        back = go_back(window, z_bar, raw, carry_bar, states=bool(learned), sent=wants_x and instantaneous)
        x_bar = send_below(call, _sent(call, back, z_bar), x, way_back) if wants_x else None
        return (None, back.start, x_bar, None, *_grads(call, back, ctx.likes))


def given_out(call: Call) -> Tensor:
    """Return the values that a node gives out: a compiled graph has to tell them from the state that it keeps."""
    return call.output.clone() if torch.compiler.is_compiling() else call.output.detach()


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


def _grads(call: Call, back: Back, likes: list[Tensor]) -> list[Tensor | None]:
    """Return the gradients of weights, biases and neuron parameters."""
    window = call.window
    grads: list[Tensor | None] = []
    for afferent in window.afferents:
        if afferent.traced:
            grads += afferent.weight_grad(back.drive.reshape(-1, *window.unit))
        else:
            grads += [None] * len(afferent.synapse.weights())
    for name in call.names:
        if name.startswith(BIAS):
            grads.append(sum_to(back.own, likes[len(grads)]))
            continue
        blocks = window.blocks
        value = combine(blocks.Q[name], blocks.P[name], back.signal, back.states, rank=window.rank)
        grads.append(None if value is None else sum_to(value, likes[len(grads)]))
    return grads


def _sent(call: Call, back: Back, z_bar: Tensor) -> Tensor:
    """Return the signal per unit that goes below."""
    if call.window.plan.window_credit:
        return back.drive
    if back.below is not None:
        return back.below
    gain = call.gain
    if gain is None:
        psi = call.window.blocks.psi
        gain = z_bar.new_zeros(()) if psi is None else psi
    return scaled(gain, z_bar, call.window)


def scaled(gain: Tensor, z_bar: Tensor, window: Window) -> Tensor:
    """Return the cotangents of the outputs, of all steps or the last, times a gain that may vary in time."""
    if gain.dim() == window.rank and gain.shape[0] > z_bar.shape[0]:
        gain = gain[-z_bar.shape[0] :]
    shape = z_bar.shape if gain.shape == z_bar.shape else torch.broadcast_shapes(gain.shape, z_bar.shape)
    return into_pool(torch.mul, shape, gain, z_bar).expand(z_bar.shape)


def send_below(call: Call, signal: Tensor, x: Tensor, way_back: Tensor) -> Tensor:
    """Return the cotangent of the input from a signal per unit, `[E, B, *unit]`: back through the synapse."""
    window = call.window
    lead = 1 if call.last else 2
    flat = window.afferents[0].synapse.input_grad(
        signal.reshape(-1, *window.unit),
        x.reshape(-1, *x.shape[lead:]).to(signal.dtype),
        way_back.to(signal.dtype) if way_back.numel() else None,
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
