r"""The one place where credit meets autograd: carried rows are attached to their traces, outputs to their credit.

`attach` passes the carried rows on and, in reverse, contracts their cotangents with the traces:
:math:`\Delta W = \langle \lambda, E \rangle`. `credited` gives out a window's values and, in reverse, asks the window's
credit for the gradients of weights, biases and neuron parameters, and for the signal that goes below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracetorch.synapses import Synapse
from tracetorch.traces.across import signals as signals_across
from tracetorch.traces.bank import Way, crosses, crossings
from tracetorch.traces.base import Trace
from tracetorch.traces.passing import CHANGED, CLOSED, Credit, Feed, Pulled, Received, Start
from tracetorch.traces.window import Traces, per_current, sum_to

MOVED_ON = (
    "backward came after the layer's traces moved on: the layer ran again before this window's backward. Call "
    "loss.backward() before the next step, or give the steps together to tt.scan; rules with one trace per input "
    "(ottt, trace) allow several forwards before one backward"
)


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
    """Attach carried rows, `[rows, B, *unit]`, to the traces that account for them.

    The rows are the states (twice, first for the weights, where the presynaptic trace has its own blocks), then the
    filter's states, then the spike count; the parameters the weights of all synapses, then biases and neuron parameters
    in the order of `names`.
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
        start: the carried past from which the window began.
        received: what the layers above send back; None where it is not distinguished.
        feeds: how credit is sent to the layers that feed this one, where these tell it apart.
        begins: whether the carried rows are those of a window's start that follows another window.
    """

    credit: Credit
    synapse: Synapse
    output: Tensor
    last: bool
    names: tuple[str, ...]
    finite: bool
    in_graph: bool
    start: Start
    received: Received | None = None
    feeds: tuple[Feed, ...] = ()
    begins: bool = True

    def pulled(
        self, z_bar: Tensor, raw: Tensor | None, carry: Tensor, *, below: bool
    ) -> tuple[Pulled, list[tuple[Way, Tensor]]]:
        """Return what cotangents of the outputs give, and the signals that go below, each with its way."""
        credit, window = self.credit, self.credit.window
        filter, parts = credit.filter, None if self.received is None else self.received.split(z_bar)
        if parts is not None and filter is not None:
            if not parts.keys() <= set(filter.ways):
                credit = credit.whole(self.start)
                filter = credit.filter or filter
            if not parts.keys() <= set(filter.ways):
                raise RuntimeError(CHANGED)
            zero = torch.zeros_like(z_bar)
            z_bar = torch.stack([parts.get(way, zero) for way in filter.ways])
            z_bar = z_bar[0] if len(filter.ways) == 1 else z_bar
        z_bar = z_bar.to(window.like.dtype)
        if self.last:
            z_bar, raw = z_bar.unsqueeze(-window.like.dim() - 1), None if raw is None else raw.unsqueeze(0)
        found = credit.pull(z_bar, raw, carry, below=below)
        if found.below is None:
            return found, []
        signals = found.below.unsqueeze(0) if credit.window.numbers.bank is None else found.below
        return found, list(zip(credit.ways, signals, strict=False))


class _Credited(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, call: Call, carry: Tensor, x: Tensor, feedback: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.call = call
        ctx.set_materialize_grads(torch.compiler.is_compiling())  # else zeros for rows that nothing reads
        ctx.save_for_backward(x if ctx.needs_input_grad[2] else None, feedback)
        ctx.shapes, ctx.rows = [p.shape for p in parameters], carry.shape
        counted, z = call.credit.window.counted, call.output
        if torch.compiler.is_compiling():
            # A graph has to tell these from each other and from the state that it keeps, which has no gradient. Copies
            # that are written alike become one tensor in it, and what marks one of its names marks all.
            return z * 1, z + 0 if counted else z.new_empty(0), carry.view_as(carry)
        return z.detach(), z.clone() if counted else z.new_empty(0), carry.view_as(carry)

    @staticmethod
    def backward(ctx: Any, z_bar: Tensor | None, raw_bar: Tensor | None, carry_bar: Tensor | None) -> Any:
        call: Call = ctx.call
        window = call.credit.window
        zero = window.like.new_zeros(())
        z_bar = zero.expand(call.output.shape) if z_bar is None else z_bar
        carry_bar = zero.expand(ctx.rows) if carry_bar is None else carry_bar
        require_first_derivative(z_bar)
        if ctx.metadata.get(CLOSED):
            return (None,) * len(ctx.needs_input_grad)
        require_finite(call.finite, z_bar)
        x, feedback = _saved(ctx)
        raw = raw_bar if window.counted and raw_bar is not None else None
        pulled, below = call.pulled(z_bar, raw, carry_bar, below=ctx.needs_input_grad[2])
        grads = pulled.weights
        for name in call.names:
            value = pulled.neuron.get(name)
            grads.append(None if value is None else sum_to(value, ctx.shapes[len(grads)]))
        if pulled.below is None:
            return (None, pulled.start, None, None, *grads)
        present = [signal for way, signal in below if not crosses(way)]
        x_bar = _below(call, sum(present[1:], present[0]), x, feedback)
        for feed in call.feeds:
            _send(call, feed, below, (x, feedback, x_bar))
            if feed.pole is not None and call.begins:
                _send_across(call, feed, (pulled.start, below[0][1]), (x, feedback))
        return (None, pulled.start, x_bar, None, *grads)


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
    lead, products = 1 if call.last else 2, call.credit.window.afferents[0].convolution
    flat = (call.synapse if products is None else products).input_grad(
        signal.reshape(-1, *signal.shape[2:]),
        x.reshape(-1, *x.shape[lead:]).to(signal.dtype),
        feedback.to(signal.dtype) if feedback.numel() else None,
    )
    return flat.reshape(x.shape)


def _send(call: Call, feed: Feed, below: list[tuple[Way, Tensor]], values: tuple[Tensor, Tensor, Tensor]) -> None:
    """Send signals per unit, by the ways above a layer, to one that feeds it."""
    x, feedback, x_bar = values
    for way, signal in below:
        for along, part in feed.signals(way, signal):
            alone = len(below) == 1 and feed.group is None
            feed.send(along, x_bar if alone else _below(call, part, x, feedback))


def _send_across(call: Call, feed: Feed, found: tuple[Tensor, Tensor], values: tuple[Tensor, Tensor]) -> None:
    """Send what crosses the window's start to a layer that feeds this one: at the first step, beside its credit."""
    window, filter = call.credit.window, call.credit.window.numbers.filter
    rows, signal = found
    if feed.pole is None:
        return
    across = signals_across(window.scan.neuron, feed.pole, rows[: window.size + (0 if filter is None else filter.size)])
    for way, first in zip(crossings(len(across)), across, strict=True):
        whole = torch.cat([first.unsqueeze(0), torch.zeros_like(signal[1:])])
        for along, part in feed.signals(way, whole):
            feed.send(along, _below(call, part, *values))


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
) -> tuple[Tensor, Tensor, Tensor]:
    """Give out a window's values with their credit: outputs, the same without the filter, and rows to carry on.

    `x` are the inputs with their graph, `[T, B, *in]`, or `[B, *in]` where `call.last`; `feedback` is the matrix by
    which credit goes below, empty for what the synapse has itself; rows and parameters are as in `attach`.
    """
    return _Credited.apply(call, carry, x, feedback, *parameters)  # type: ignore[no-any-return]


def credit_of(out: Tensor, z_bar: Tensor) -> tuple[Tensor | None, list[Tensor | None]]:
    """Return, without a backward, what a cotangent of a call's output gives: that of the inputs, and all gradients.

    The output is as `credited` has given it; the gradients are in the order of the call's parameters.
    """
    node: Any = out.grad_fn
    _, start, x_bar, _, *grads = _Credited.backward(node, z_bar, None, None)
    past: Any = node.next_functions[0][0]
    if past is not None:
        for i, more in enumerate(_Attach.backward(past, start)[2:]):
            if more is not None:
                grads[i] = more if grads[i] is None else grads[i] + more
    return x_bar, grads
