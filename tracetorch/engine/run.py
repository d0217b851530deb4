"""Run one layer over one window: its values, then its credit by the layer's trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tracetorch.backends import Convolution, Events, Outputs, Product, Save, Scan, ScanBackend, choose
from tracetorch.engine.known import Known
from tracetorch.engine.spec import Parameters, Spec
from tracetorch.engine.state import LayerState, NoTape, OpenWindow, apart, begin
from tracetorch.neurons import Neuron, bind, tensor_values
from tracetorch.ops.pool import pool
from tracetorch.traces import Afferent, Numbers, Window
from tracetorch.traces.autograd import Attachment, Call, attach, credited
from tracetorch.traces.passing import Feed, Received, Start, receiving
from tracetorch.traces.window import version_of

Spikes = tuple[Tensor, Tensor, Tensor | None]
"""Spike count with its graph, `[B, *unit]`, steps since the reset, `[B]`, and the outputs past the filter."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a window came to.

    Args:
        z: the outputs, `[T, B, *unit]`, with credit attached unless only the last carries it.
        last: the last output with credit attached, `[B, *unit]`.
        state: what the layer carries on.
        before: what the layer carried before, its traces advanced; None after a reset.
        spikes: spikes for a rate term, where they are counted.
        received: what takes up the credit that the layers above send; None where it is not distinguished.
    """

    z: Tensor
    last: Tensor
    state: LayerState
    before: LayerState | None
    spikes: Spikes | None = None
    received: Received | None = None


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of a layer: what it is, its parameters now, its open window, whether its input stays, what feeds it."""

    spec: Spec
    given: Parameters
    learns: bool
    opened: OpenWindow | None
    stays: bool
    feeds: tuple[Feed, ...] = ()


@dataclass(frozen=True, eq=False)
class _Part:
    """One window of a call; whether it has no event in it, and its last input with its graph where that is one."""

    xs: Tensor
    event: Tensor | None = None
    silent: bool = False
    out: Tensor | None = None


def run(
    spec: Spec,
    state: LayerState | None,
    xs: Tensor,
    *,
    event: Tensor | None,
    opened: OpenWindow | None = None,
    feeds: tuple[Feed, ...] = (),
) -> Result:
    """Run a layer over one window.

    Args:
        spec: the layer.
        state: what it carries; None after a reset.
        xs: inputs, `[T, B, *in]`.
        event: the last input with its graph, `[B, *in]`, where only the last output is to carry credit; else None.
        opened: the open window that the call belongs to, or None.
        feeds: how credit is sent to the layers that feed this one.

    Returns:
        Outputs and state. The state that was given is not changed, but for large traces, which advance in place.
    """
    source = xs if event is None else event
    given = spec.parameters()
    learns = torch.is_grad_enabled() and (source.requires_grad or given.learns)
    call = _Call(spec, given, learns, opened, _stays(source), feeds)
    fresh, state = state is None, _begun(call, state, xs)
    if event is None or not call.learns or xs.shape[0] == 1 or not _splits(call, state):
        found = _run(call, state, _Part(xs, event))
        return replace(found, before=None) if fresh else found
    if torch.compiler.is_compiling():
        before = _run(call, state, _Part(xs[:-1], silent=True))
        last = _run(call, before.state, _Part(xs[-1:], event))
        return replace(last, z=torch.cat([before.z, last.z.detach()]))
    out = pool().empty((xs.shape[0], *state.s[0].shape), state.s[0].dtype) if xs.is_cpu else None
    out = state.s[0].new_empty(xs.shape[0], *state.s[0].shape) if out is None else out
    before = _run(call, state, _Part(xs[:-1], silent=True, out=out[:-1]))
    last = _run(call, before.state, _Part(xs[-1:], event, out=out[-1:]))
    return replace(last, z=out.to(spec.output_dtype(xs)))


def carry(spec: Spec, state: LayerState | None, xs: Tensor) -> Result:
    """Run a layer whose trace carries forward over a window without an event, `[T, B, *in]`; outputs have no graph."""
    given = spec.parameters()
    call = _Call(spec, given, torch.is_grad_enabled() and given.learns, None, _stays(xs))
    state = _begun(call, state, xs)
    return _run(call, state, _Part(xs, silent=call.learns))


def _stays(x: Tensor) -> bool:
    """Return whether an input is what some operation gave, and so no memory that the caller writes the next one into.

    One that is changed in place all the same raises before it is read again.
    """
    return x.requires_grad if torch.compiler.is_compiling() else x.grad_fn is not None  # which is not to be traced


def _owned(call: _Call, state: LayerState, part: _Part) -> Tensor:
    """Return a window's inputs, copied where they are read after the call and may not stay as they are until then.

    Traces advance over a window at the next call, so that they read its inputs once more then.
    """
    if call.stays or not _read(call, state, part):
        return part.xs
    clones = torch.compiler.is_compiling() or not part.xs.is_cpu
    return part.xs.detach().clone() if clones else pool().empty(tuple(part.xs.shape), part.xs.dtype).copy_(part.xs)


def _read(call: _Call, state: LayerState, part: _Part) -> bool:
    """Return whether a window's inputs are read after the call."""
    last = _at_end(call, state, part)
    return call.learns and (bool(call.given.learned) or state.trace.reads(silent=part.silent, last=last))


def _begun(call: _Call, state: LayerState | None, xs: Tensor) -> LayerState:
    if state is None:
        if call.learns:
            call.spec.require_known()
        with torch.no_grad():
            return begin(call.spec, call.spec.like(xs[0]))
    if state.trace.sequence and call.learns and call.opened is None:
        raise RuntimeError(
            "rule 'rate' averages over one whole sequence: give it to one tt.scan after tt.reset(net), or take "
            "tt.rules.trace() for single steps and streams"
        )
    if not call.learns:
        return state
    filter, carried = state.trace.filter, state.traces is not None or state.pending is not None
    if filter is not None and carried and (call.opened is None or not call.opened.calls):
        why = filter.why_whole()
        if why:
            raise RuntimeError(why)
    return state.flushed() if state.pending is not None and not isinstance(state.pending, Window) else state


def _at_end(call: _Call, state: LayerState, part: _Part) -> bool:
    """Return whether the last step alone is credited."""
    return part.event is not None and not call.spec.counted and not state.trace.window_credit


def _splits(call: _Call, state: LayerState) -> bool:
    """Return whether all steps before the last event can be carried forward instead of back."""
    return call.opened is None and not call.spec.counted and state.trace.carries(last=True)


def _run(call: _Call, state: LayerState, part: _Part) -> Result:
    spec = call.spec.over(part.xs)
    call = call if spec is call.spec else replace(call, spec=spec)
    neuron = fixed(spec.neuron, call.given.learned)
    with torch.no_grad():
        xs, s, z = part.xs, tuple(map(state.masked, state.s)), None if state.z is None else state.masked(state.z)
        scan = Scan(neuron, s, xs, None, spec.recurrent, z, part.out)
        backend, convolution = choose(spec.backend, scan), None
        product = _product(spec, backend, scan)
        if product is not None:
            scan = scan.formed(product)
        else:
            xs = _owned(call, state, part)
            convolution = backend.convolution(spec.synapses[0], xs, spec.sparse) if xs.dtype == s[0].dtype else None
            scan = replace(scan, drive=spec.currents(xs, convolution))
        _require_units(scan)
        numbers, start, save = Numbers(), None, Save()
        if call.learns:
            numbers, state = _numbers(spec, state, scan)
            start = Start(state.traces, state.sigma, state.keep, s[0], xs[0], len(neuron.currents))
            last = part.silent or _at_end(call, state, part)
            save = state.trace.save(neuron, numbers, start, xs.shape[0], silent=part.silent, last=last)
            if not (call.given.learned or spec.activity.wanted or state.trace.taped(silent=part.silent)):
                save = replace(save, tape=False)  # currents of every step are not written
        if product is None:
            spec.require_finite(xs)
        else:
            save = replace(save, events=_read(call, state, part))
        outputs = backend.forward(scan, save)
        if not outputs.finite:
            spec.require_finite(xs)
        if product is not None and outputs.events is not None:
            scan = replace(scan, product=replace(product, events=outputs.events))
        spec.synapses[0].settle()
    z = outputs.z.to(spec.output_dtype(xs))
    after = _after(state, scan, outputs)
    if start is None:
        return Result(z, z[-1], after.forgotten(), state)
    if outputs.tape is not None and spec.activity.wanted:
        with torch.no_grad():
            spec.activity.measure(replace(scan, neuron=neuron), outputs.tape)
    state = state.flushed()
    start = replace(start, traces=state.traces)
    window = _window(call, state, xs, (scan, outputs), numbers, (backend, convolution))
    return _close(call, state, part, (start, window, outputs), after, z)


def _product(spec: Spec, backend: ScanBackend, scan: Scan) -> Product | None:
    """Return the product of a dense synapse where the scan forms it from the events of its inputs."""
    dense = spec.synapses[0].dense()
    if dense is None or scan.drive.dtype != scan.s[0].dtype:
        return None
    weight, bias = dense[0].detach(), None if dense[1] is None else dense[1].detach()
    events = backend.events(scan.drive, weight, spec.sparse)
    return None if events is None else Product(events, weight, bias)


def _require_units(scan: Scan) -> None:
    """Raise ValueError where an input gives other units than those that the state is of."""
    units = scan.drive.shape[2:] if scan.product is None else scan.product.weight.shape[:1]
    count = len(scan.neuron.currents)
    if units != (scan.unit if count == 1 else (count, *scan.unit)):
        raise ValueError(
            f"the input gives the layer units {list(units)}, its state has {list(scan.unit)}: an input [batch, *in] of "
            f"one step has another shape than those before. Give a whole window to tt.scan(net, xs); call "
            f"tt.reset(net) before inputs of another shape"
        )


def fixed(neuron: Neuron, learned: Mapping[str, Tensor]) -> Neuron:
    """Return a view of a neuron that stays as the neuron is now, whatever is assigned to it or written into it.

    Credit comes after the window, and the traces' advance over it at the next call; an optimizer's step, a state that
    is loaded or another surrogate may be between.
    """
    values = {k: v.detach().clone() if v.is_leaf else v.detach() for k, v in learned.items()}
    if torch.compiler.is_compiling():
        return bind(neuron, values)
    values |= {k: v.detach().clone() for k, v in tensor_values(neuron, but=values).items()}
    view = bind(neuron, values)
    if view is not neuron:
        view.__dict__["_lowered"] = view.__dict__.get("_lowered", {}) | {False: neuron.lowered()}
    return view


def _numbers(spec: Spec, state: LayerState, scan: Scan) -> tuple[Numbers, LayerState]:
    """Return the trace's numbers, computed again where the tensors that they depend on have changed."""
    if torch.compiler.is_compiling():
        return state.trace.numbers(scan.neuron, scan.s[0]), state
    of: list[object] = [spec.rule, spec.above, type(state.trace), scan.unit, scan.s[0].dtype, scan.s[0].device]
    for activity in (spec.activity, *(stage.activity for stage in spec.above.all)):
        of += activity.depends()
    tensors: list[Tensor] = []
    for module in (spec.neuron, *spec.above.neurons):
        if module._parameters or module._modules:
            return state.trace.numbers(scan.neuron, scan.s[0]), state
        of.append(module.lowered())
        tensors += [b for b in module._buffers.values() if b is not None]
    versions = [(id(t), version_of(t)) for t in tensors]
    known = state.numbers
    if known is None or not known.holds(of, versions, tensors):
        known = Known(of, versions, [t.detach().clone() for t in tensors], state.trace.numbers(scan.neuron, scan.s[0]))
        state = replace(state, numbers=known)
    return known.numbers, state


def _after(state: LayerState, scan: Scan, outputs: Outputs) -> LayerState:
    """Return the state after a window, without what is carried for credit."""
    steps = state.steps if state.keep is None else state.steps * state.keep.to(state.steps.dtype)
    z = None if scan.recurrent is None else outputs.z[-1].detach().clone()
    s = tuple(apart(x.detach(), outputs.z, scan.drive) for x in outputs.s)
    return LayerState(
        state.trace, s, z, steps + scan.steps, count=state.count, sigma=outputs.sigma, numbers=state.numbers
    )


def _window(
    call: _Call,
    state: LayerState,
    xs: Tensor,
    done: tuple[Scan, Outputs],
    numbers: Numbers,
    products: tuple[ScanBackend, Convolution | None],
) -> Window:
    (scan, outputs), (backend, convolution) = done, products
    dtype, given = scan.s[0].dtype, call.given
    inputs: list[Tensor | Events] = [xs.detach().to(dtype) if scan.product is None else scan.product.events]
    if scan.recurrent is not None and scan.z is not None:
        inputs.append(torch.cat([scan.z.unsqueeze(0).to(dtype), outputs.z[:-1].detach()]))
    traced = [any(w.requires_grad for w in row) for row in given.weights]
    afferents = [
        Afferent(s, x, t, version=version_of(x)) for s, x, t in zip(call.spec.synapses, inputs, traced, strict=True)
    ]
    afferents[0] = replace(afferents[0], sums=outputs.sums, convolution=convolution)
    tape: Any = outputs.tape if outputs.tape is not None else NoTape()
    counted = call.spec.counted and state.trace.counts
    names = tuple(given.biases), tuple(given.learned)
    return Window(numbers, scan, backend, tape, afferents, *names, state.keep, counted)


def _close(
    call: _Call, state: LayerState, part: _Part, done: tuple[Start, Window, Outputs], after: LayerState, z: Tensor
) -> Result:
    """Attach credit to a window's outputs, and return what it leaves."""
    start, window, outputs = done
    trace, opened, counted = state.trace, call.opened, call.spec.counted
    last = _at_end(call, state, part)
    closed = trace.close(start, window, outputs, silent=part.silent, last=part.silent or last)
    after = replace(after, traces=closed.traces, pending=closed.pending)
    if closed.credit is None:
        return Result(z, z[-1], after, state)
    rows, before = _opening(call, state, window)
    x = part.event if last and part.event is not None else part.xs
    settings = Call(
        closed.credit,
        call.spec.synapses[0],
        z[-1] if last else z,
        last,
        call.given.names,
        call.spec.checks_credit(z),
        trace.in_graph,
        start,
        receiving(trace.filter),
        call.feeds if x.requires_grad else (),
        state.traces is not None and (opened is None or not opened.calls),
    )
    out, raw, rows = credited(settings, rows, x, call.spec.feedback_weight(), call.given.all())
    spikes = None
    if counted:
        raw = raw if window.counted else out
        spikes, after = _count(call, state, after, (z, raw, before))
    if trace.in_graph:
        after = replace(after, carry=rows)
    elif opened is not None:
        opened.carry = rows
        if closed.pending is not None:
            opened.windows.append(closed.pending)
            after = replace(after, pending=None)
    if last:
        return Result(z, out, after, state, spikes, settings.received)
    return Result(out, out[-1], after, state, spikes, settings.received)


def _opening(call: _Call, state: LayerState, window: Window) -> tuple[Tensor, Tensor | None]:
    """Return the carried rows with their credit, and the spike count's row where spikes are counted."""
    if state.carry is not None:
        return state.carry, None
    if call.opened is not None and call.opened.carry is not None:
        return call.opened.carry, None
    trace, rows = state.trace, state.trace.rows(window)
    shape = (rows + int(window.counted), *window.like.shape)
    whole = window.like.new_zeros(()).expand(shape)
    if state.traces is not None and not trace.in_graph:
        untraced = trace.fed and not trace.traces_fed and window.scan.recurrent is not None
        fed = rows - 1 if untraced else None
        currents = len(call.spec.neuron.currents)
        attachment = Attachment(trace, state.traces, call.spec.synapses, call.given.names, window.size, fed, currents)
        whole = attach(attachment, whole, call.given.all())
    return (whole[:rows], whole[rows]) if window.counted else (whole, None)


def _count(
    call: _Call, state: LayerState, after: LayerState, values: tuple[Tensor, Tensor, Tensor | None]
) -> tuple[Spikes, LayerState]:
    """Add the window's spikes to the count that a rate term reads, with the graph of its gradient."""
    z, raw, before = values
    past = torch.zeros_like(z[0]) if state.count is None else state.masked(state.count)
    opened = call.opened
    graph = opened.count if opened is not None and opened.count is not None else past
    if before is not None:
        graph = graph + state.masked(before)
    spikes = z.detach().sum(0)
    count = graph + raw.sum(0)
    if opened is not None:
        opened.count = count
    after = replace(after, count=count if state.trace.in_graph else past + spikes)
    return (count, after.steps, raw), after
