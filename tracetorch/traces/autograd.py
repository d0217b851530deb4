r"""The one place where credit meets autograd: carried rows are attached to their traces, outputs to their credit.

`attach` passes the carried rows on and, in reverse, contracts their cotangents with the traces:
:math:`\Delta W = \langle \lambda, E \rangle`. `credited` gives out a window's values and, in reverse, asks the window's
credit for the gradients of weights, biases and neuron parameters, and for the signal that goes below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from tracetorch.synapses import Synapse
from tracetorch.traces.across import signals as signals_across
from tracetorch.traces.base import Trace
from tracetorch.traces.passing import Credit, Feed
from tracetorch.traces.window import Traces, Window, per_current, sum_to

MOVED_ON = (
    "backward came after the layer's traces moved on: the layer ran again before this window's backward. Call "
    "loss.backward() before the next step, or give the steps together to tt.scan; rules with one trace per input "
    "(ottt, trace) allow several forwards before one backward"
)

CLOSED = "tracetorch.closed"
"""Note on the node of a layer's outputs of how many cotangents are being followed past it."""


@dataclass(frozen=True)
class Attachment:
    """What the carried rows' cotangents are contracted with.

    Args:
        trace: the layer's trace.
        traces: what is carried.
        synapses: the layer's synapses, one for each row of `traces.weight`.
        names: names of biases and neuron parameters, in the order in which they are attached.
        size: S, the number of states.
        fed: index of the row of the output that is fed back, which no trace stands for; None where there is none.
        currents: number of currents per unit.
    """

    trace: Trace
    traces: Traces
    synapses: tuple[Synapse, ...]
    names: tuple[str, ...]
    size: int
    fed: int | None
    currents: int = 1


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, attachment: Attachment, values: Tensor, *parameters: Tensor) -> Tensor:
        ctx.attachment = attachment
        ctx.shapes = [p.shape for p in parameters]
        large = attachment.trace.large(attachment.traces)
        ctx.versions = [] if torch.compiler.is_compiling() else [x._version for x in large]
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        require_first_derivative(bar)
        a: Attachment = ctx.attachment
        if ctx.versions and [x._version for x in a.trace.large(a.traces)] != ctx.versions:
            raise RuntimeError(MOVED_ON)
        rows = bar if a.fed is None else torch.cat([bar[: a.fed], bar[a.fed + 1 :]])
        grads: list[Tensor | None] = []
        terms = a.trace.contract(a.traces, per_current(rows, 2, a.currents), a.synapses, a.size)
        for synapse, found in zip(a.synapses, terms, strict=True):
            if found:
                grads += [sum(parts[1:], parts[0]) for parts in zip(*found, strict=True)]
            else:
                grads += [None] * len(synapse.weights())
        own = rows[a.size * (a.trace.copies - 1) :]
        for name in a.names:
            value = a.trace.contract_neuron(a.traces, name, own)
            grads.append(None if value is None else sum_to(value, ctx.shapes[len(grads)]))
        return (None, bar if ctx.needs_input_grad[1] else None, *grads)


def attach(attachment: Attachment, values: Tensor, parameters: list[Tensor]) -> Tensor:
    r"""Attach carried values to the traces that account for them.

    Args:
        attachment: what to contract with.
        values: carried rows, `[rows, B, *unit]`: the states (twice, first for the weights, where the presynaptic trace
            has blocks of its own), then the filter's states, then the spike count.
        parameters: the weights of all synapses, then biases and neuron parameters in the order of `names`.

    Returns:
        The values, attached.
    """
    out: Tensor = _Attach.apply(attachment, values, *parameters)
    return out


@dataclass(frozen=True)
class Call:
    """How one window's outputs are given out.

    Args:
        credit: how they are credited.
        synapse: the synapse through which credit goes below.
        output: the values, `[T, B, *unit]`, or `[B, *unit]` for the last alone.
        last: whether only the last output carries a cotangent.
        names: names of biases and neuron parameters, in the order in which they are given.
        finite: whether to refuse cotangents that are not finite.
        in_graph: whether the carried rows keep their graph from call to call.
        feeds: how credit goes apart at the layers that feed this one; none where each has one filter above it.
        begins: whether the carried rows are those of a window's start, and not of an earlier call in it.
    """

    credit: Credit
    synapse: Synapse
    output: Tensor
    last: bool
    names: tuple[str, ...]
    finite: bool
    in_graph: bool
    feeds: tuple[Feed, ...] = ()
    begins: bool = True


class _Credited(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, call: Call, carry: Tensor, x: Tensor, feedback: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.call = call
        ctx.save_for_backward(x if ctx.needs_input_grad[2] else None, feedback)
        ctx.shapes = [p.shape for p in parameters[len(call.feeds) :]]
        raw = call.output.clone() if call.credit.window.counted else call.output.new_empty(0)
        # A compiled graph has to tell the values from the state that it keeps.
        out = call.output.clone() if torch.compiler.is_compiling() else call.output.detach()
        outputs = call.credit.window.numbers.outputs
        ports = out.new_zeros(()).expand(outputs - 1, *out.shape) if outputs > 1 else out.new_empty(0)
        return out, raw, carry.view_as(carry), ports

    @staticmethod
    def backward(ctx: Any, z_bar: Tensor, raw_bar: Tensor, carry_bar: Tensor, parts: Tensor) -> Any:
        require_first_derivative(z_bar)
        if ctx.metadata.get(CLOSED):
            return (None,) * len(ctx.needs_input_grad)
        call: Call = ctx.call
        window = call.credit.window
        require_finite(call.finite, z_bar)
        z_bar = z_bar.to(window.like.dtype)
        x, feedback = _saved(ctx)
        raw = raw_bar if window.counted and raw_bar is not None else None
        if call.last:
            z_bar, raw = z_bar.unsqueeze(0), None if raw is None else raw.unsqueeze(0)
        several = window.numbers.outputs > 1
        if several:
            parts = parts.to(z_bar.dtype).reshape(-1, *z_bar.shape)
            z_bar = torch.cat([(z_bar - _present(window, parts, 1).sum(0)).unsqueeze(0), parts])
        pulled = call.credit.pull(z_bar, raw, carry_bar, below=ctx.needs_input_grad[2])
        grads = pulled.weights
        for name in call.names:
            value = pulled.neuron.get(name)
            grads.append(None if value is None else sum_to(value, ctx.shapes[len(grads)]))
        if pulled.below is None:
            return (None, pulled.start, None, None, *[None] * len(call.feeds), *grads)
        below = pulled.below if window.numbers.bank is not None else pulled.below.unsqueeze(0)
        x_bar = _below(call, _present(window, below, 0).sum(0) if len(below) > 1 else below[0], x, feedback)
        apart = [_apart(call, feed, (below, pulled.start), (x, feedback)) for feed in call.feeds]
        return (None, pulled.start, x_bar, None, *apart, *grads)


def _saved(ctx: Any) -> tuple[Tensor, Tensor]:
    try:
        x, feedback = ctx.saved_tensors
    except RuntimeError as freed:
        if not ctx.call.in_graph or "backward through the graph a second time" not in str(freed):
            raise
        raise RuntimeError(
            "rule 'bptt' keeps one graph over all calls since tt.reset, and an earlier backward has freed it: sum the "
            "losses of the sequence and call backward once, or take a rule that learns at every step "
            "(tt.rules.trace(), eprop(), ottt(), ...)"
        ) from freed
    return x, feedback


def _below(call: Call, signal: Tensor, x: Tensor, feedback: Tensor) -> Tensor:
    """Return the cotangent of the input from a signal per unit, `[E, B, *unit]`: back through the synapse."""
    lead = 1 if call.last else 2
    flat = call.synapse.input_grad(
        signal.reshape(-1, *signal.shape[2:]),
        x.reshape(-1, *x.shape[lead:]).to(signal.dtype),
        feedback.to(signal.dtype) if feedback.numel() else None,
    )
    return flat.reshape(x.shape)


def _present(window: Window, parts: Tensor, first: int) -> Tensor:
    """Return those of a layer's cotangents by its filters, from the `first` on, that are among what reaches it."""
    bank = window.numbers.bank
    return parts if bank is None else parts[bank.p[first : first + len(parts)] != 0]


def _apart(call: Call, feed: Feed, signals: tuple[Tensor, Tensor], saved: tuple[Tensor, Tensor]) -> Tensor:
    """Return the cotangents of a feeding layer's outputs by its filters, all but the first, `[P - 1, *outputs]`."""
    found: list[Tensor] = []
    below, start = signals
    across, window = None, call.credit.window
    if feed.pole is not None and call.begins:
        filter = window.numbers.filter
        start = start[: window.size + (0 if filter is None else filter.size)]
        across = signals_across(window.scan.neuron, feed.pole, start)
    for signal in feed.signals(below, across):
        part = None if signal is None else _below(call, signal, *saved)
        if part is not None:
            part = back_to(feed.edge, feed.node, feed.nodes, part.to(feed.dtype).reshape(feed.shape))
        found.append(feed.ports.new_zeros(feed.ports.shape[1:]) if part is None else part.reshape(feed.ports.shape[1:]))
    return torch.stack(found)


def back_to(edge: Any, node: Any, nodes: Sequence[Any], part: Tensor) -> Tensor | None:
    """Return what a cotangent comes to at a layer's outputs, through the modules between and through no layer.

    Args:
        edge: the edge of the graph at which the cotangent is.
        node: the node of the layer's outputs.
        nodes: the nodes of all layers that are met first.
        part: the cotangent.

    Returns:
        The cotangent of the outputs; None where there is none.
    """
    if edge.node is node:
        return part
    others = [one for one in nodes if one is not node]
    closed = [one.register_prehook(_nothing) for one in others]
    for one in others:
        one.metadata[CLOSED] = one.metadata.get(CLOSED, 0) + 1
    try:
        found = torch.autograd.grad([edge], [GradientEdge(node, 0)], [part], retain_graph=True, allow_unused=True)
    finally:
        for hook in closed:
            hook.remove()
        for one in others:
            one.metadata[CLOSED] -= 1
    return found[0]


def _nothing(cotangents: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    return tuple(None if bar is None else torch.zeros_like(bar) for bar in cotangents)


def require_first_derivative(cotangent: Tensor) -> None:
    """Raise RuntimeError where a backward is itself to be differentiated, or vectorized: credit has no graph."""
    if torch.compiler.is_compiling():
        return
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the gradients of a tt.Layer cannot be differentiated again (create_graph=True): traces have no graph. "
            "Take first derivatives alone, or form such a penalty from a module without tt.Layer"
        )
    functorch = torch._C._functorch
    if functorch.is_legacy_batchedtensor(cotangent) or functorch.is_batchedtensor(cotangent):
        raise RuntimeError(
            "the backward of a tt.Layer ran for many cotangents at once (is_grads_batched=True, "
            "jacobian(vectorize=True)), which is not supported; take one backward after another, with retain_graph=True"
        )


def require_finite(check: bool, z_bar: Tensor) -> None:
    """Raise FloatingPointError where a cotangent is NaN or infinite and the check is on."""
    if check and not bool(torch.isfinite(z_bar.sum())) and not bool(torch.isfinite(z_bar).all()):
        raise FloatingPointError(
            "the gradient that reached this layer has NaN or infinity in it: the loss, or a module between it and the "
            "layer, is not finite; no gradient was written. tt.check_finite(net, False) turns this check off"
        )


def credited(
    call: Call, carry: Tensor, x: Tensor, feedback: Tensor, parameters: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give out a window's values with their credit attached.

    Args:
        call: how they are credited and given out.
        carry: carried rows, `[rows, B, *unit]`, as `attach` gives them.
        x: inputs with their graph, `[T, B, *in]`, or `[B, *in]` where `call.last`.
        feedback: weight or feedback through which credit goes below; empty for what the synapse has itself.
        parameters: as in `attach`.

    Returns:
        The output; the same without the filter, for a rate term; the rows to carry on; and what takes up the credit of
        all filters above but the first, `[G - 1, *output]`, empty where there is one.
    """
    ports = [feed.ports for feed in call.feeds]
    return _Credited.apply(call, carry, x, feedback, *ports, *parameters)  # type: ignore[no-any-return]
