"""One layer over one window: values, then credit by the layer's plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tracetorch.memory import Memory
from tracetorch.neurons import Neuron, bind, effective_parameters
from tracetorch.ops import linear_scan
from tracetorch.ops.entries import Entry, multiply_add
from tracetorch.order import check, sign
from tracetorch.roll import Rolled, Wanted, kept, roll, walk_through
from tracetorch.rules.resolve import values
from tracetorch.traces.attach import Seam, attach
from tracetorch.traces.averages import Start, average, begin
from tracetorch.traces.factor import factor
from tracetorch.traces.instant import Call, instant
from tracetorch.traces.plan import Values
from tracetorch.traces.window import BIAS, Afferent, Record, Window

if TYPE_CHECKING:
    from tracetorch.layer import Layer


@dataclass(frozen=True)
class Given:
    """Hold a layer's parameters as they are at one call, with their graphs.

    Args:
        weights: weights by synapse.
        biases: biases that learn, by name.
        learned: effective values of the neuron's learned parameters, by name.
    """

    weights: list[tuple[Tensor, ...]]
    biases: dict[str, Tensor]
    learned: dict[str, Tensor]

    @property
    def learns(self) -> bool:
        """Whether any of them needs a gradient."""
        return bool(self.learned or self.biases) or any(w.requires_grad for row in self.weights for w in row)

    def all(self) -> dict[str, Tensor]:
        """Return all that credit is given to: weights, then biases and neuron parameters."""
        named = {f"weight.{i}.{j}": w for i, row in enumerate(self.weights) for j, w in enumerate(row)}
        return {**named, **self.biases, **self.learned}


def _given(layer: Layer) -> Given:
    biases = {}
    for i, synapse in enumerate(layer.synapses):
        bias = synapse.bias()
        if bias is not None and bias.requires_grad:
            biases[f"{BIAS}{i}"] = bias
    return Given([s.weights() for s in layer.synapses], biases, effective_parameters(layer.neuron))


@dataclass(frozen=True)
class Pass:
    """Hold one layer's window on its way from values to credit.

    Args:
        layer: the layer.
        memory: its memory.
        xs: inputs, `[T, B, *in]`.
        event: the last input with its graph where only the last output carries credit, else None.
        neuron: the neuron, bound to its parameters of now.
        given: its parameters.
        params: values of the learned neuron parameters.
        numbers: the plan's numbers.
        start: where the factor rule's averages begin; None under other rules.
        rolled: what the neuron went through.
    """

    layer: Layer
    memory: Memory
    xs: Tensor
    event: Tensor | None
    neuron: Neuron
    given: Given
    params: Mapping[str, Tensor]
    numbers: Values
    start: Start | None
    rolled: Rolled


def run(layer: Layer, xs: Tensor, *, event: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run a layer over one window and leave it after that.

    Args:
        layer: the layer.
        xs: inputs, `[T, B, *in]`.
        event: the last input with its graph, `[B, *in]`, where only the last output is to carry credit; else None.

    Returns:
        The outputs, `[T, B, *unit]`, with credit attached unless `event` is given; and the last output with credit
        attached, `[B, *unit]`.
    """
    source = xs if event is None else event
    check(layer, source)
    given = _given(layer)
    learns = torch.is_grad_enabled() and (source.requires_grad or given.learns)
    with torch.no_grad():
        memory = layer.remember(layer.like(xs), learns=learns)
    if event is None or not learns or xs.shape[0] == 1 or not _splits(layer, memory):
        return _run(layer, memory, given, xs, event=event, learns=learns)
    before, _ = _run(layer, memory, given, xs[:-1], learns=True, room=1)
    z, last = _run(layer, memory, given, xs[-1:], event=event, learns=True)
    if before.shape[0] < xs.shape[0]:
        return torch.cat([before, z.detach()]), last
    before[-1] = z[0].detach()
    return before, last


def carry(layer: Layer, xs: Tensor) -> Tensor:
    """Run a layer over a window that has no event in it, and carry its traces on.

    Args:
        layer: a layer whose plan carries forward.
        xs: inputs, `[T, B, *in]`.

    Returns:
        The outputs, `[T, B, *unit]`, without a graph.
    """
    given = _given(layer)
    learns = torch.is_grad_enabled() and given.learns
    with torch.no_grad():
        memory = layer.remember(layer.like(xs), learns=learns)
    return _run(layer, memory, given, xs, learns=learns, room=0 if learns else -1)[0]


def _splits(layer: Layer, memory: Memory) -> bool:
    """Tell whether all steps before the last event can be carried forward instead of back."""
    plan = memory.plan
    return layer.opened is None and not layer.counted and plan.storage != "factor" and plan.carries


def _run(
    layer: Layer, memory: Memory, given: Given, xs: Tensor, *, learns: bool, event: Tensor | None = None, room: int = -1
) -> tuple[Tensor, Tensor]:
    """Run one window; with `room` from 0 it has no event in it and is only carried, with room for more outputs."""
    silent = room >= 0
    params = _snapshot(given.learned)
    neuron = bind(layer.neuron, params)
    with torch.no_grad():
        choice = layer.choose(xs, memory)
        like = memory.s[0]
        numbers, start, wanted = Values(), None, Wanted()
        if learns:
            unit = tuple(like.shape[1:])
            numbers = _numbers(layer, memory, neuron, unit)
            if memory.plan.storage == "factor" and numbers.decays is not None:
                start = begin(memory.sums, numbers.decays, unit, memory.plan.buckets, memory.keep)
            if choice.step is not None:
                wanted = _wanted(
                    memory,
                    numbers,
                    start,
                    bool(params) or layer.counted,
                    last=event is not None or silent,
                    silent=silent,
                )
                wanted = replace(wanted, room=max(room, 0))
        if not choice.sparse:
            layer.require_finite(xs)
        if choice.step is None:
            rolled = roll(neuron, layer, memory, layer.currents(xs))
        else:
            rolled = walk_through(neuron, layer, memory, xs, choice, wanted)
        if not rolled.finite:
            layer.require_finite(xs)
    z = rolled.z.to(layer.output_dtype(xs))
    if not learns:
        memory.forget()
        _commit(layer, memory, rolled)
        return z, z[-1]
    done = Pass(layer, memory, xs, event, neuron, given, params, numbers, start, rolled)
    if silent:
        _carry(done)
        return (z if rolled.room is None else rolled.room), z[-1]
    return _credit_pass(done, z)


def _numbers(layer: Layer, memory: Memory, neuron: Neuron, unit: tuple[int, ...]) -> Values:
    """Return the plan's numbers, formed anew where the tensors that they hang on have changed."""
    readout = layer.readout
    if torch.compiler.is_compiling():
        return values(memory.plan, layer.rule, neuron, unit, readout=readout, like=memory.s[0])
    key: list[tuple[int, int]] = []
    for module in (layer.neuron, readout):
        if module is not None:
            if module._parameters or module._modules:
                return values(memory.plan, layer.rule, neuron, unit, readout=readout, like=memory.s[0])
            key += [(id(b), b._version) for b in module._buffers.values() if b is not None]
    if memory.numbers is None or memory.numbers[0] != key:
        memory.numbers = (key, values(memory.plan, layer.rule, neuron, unit, readout=readout, like=memory.s[0]))
    return memory.numbers[1]


def _wanted(memory: Memory, numbers: Values, start: Start | None, learned: bool, *, last: bool, silent: bool) -> Wanted:
    """Say what credit will need of a walk through the window."""
    plan = memory.plan
    if start is not None:
        return Wanted(learned, learned, float(numbers.filter), averaged=start, history=not last)
    gained = plan.input == "gain"
    pre = None
    if plan.storage == "pre" and silent and numbers.transition is not None and numbers.drive is not None:
        pre = (numbers.transition, numbers.drive)
    decay = 0.0 if gained else None
    keeps = learned or plan.approximate
    return Wanted(keeps or not silent, keeps, decay, pre=pre, history=gained and not silent)


def _carry(done: Pass) -> None:
    """Leave a window in which nothing is credited: its traces are carried on, and no more."""
    layer, memory = done.layer, done.memory
    memory.flush()
    window = _window(done)
    gain = None
    if window.plan.input in ("gain", "trace"):
        gain = _gain(window, memory, done.rolled)
    if done.start is not None:
        _, memory.sums = average(done.start, window, done.rolled.h, gain, last=True)
        memory.pending = window if done.params else None
    elif window.plan.storage != "none":
        memory.pending = window
    _commit(layer, memory, done.rolled)


def _snapshot(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return parameter values that a later step of an optimizer does not change."""
    return {k: v.detach().clone() if v.is_leaf else v.detach() for k, v in params.items()}


def _commit(layer: Layer, memory: Memory, rolled: Rolled) -> None:
    memory.s = tuple(x.detach() for x in rolled.last)
    memory.z = rolled.z[-1].detach().clone() if layer.recurrent_synapse is not None else None
    steps = memory.steps if memory.keep is None else memory.steps * memory.keep.to(memory.steps.dtype)
    memory.steps = steps + rolled.z.shape[0]
    memory.keep = None
    layer.memory = memory
    if layer.opened is not None:
        layer.opened.calls += 1


def _window(done: Pass) -> Window:
    layer, memory, rolled = done.layer, done.memory, done.rolled
    drive = rolled.drive
    inputs = [done.xs.detach().to(drive.dtype)]
    if rolled.z_before is not None:
        inputs.append(rolled.z_before.detach())
    traced = [any(w.requires_grad for w in row) for row in done.given.weights]
    afferents = [Afferent(s, x, t) for s, x, t in zip(layer.synapses, inputs, traced, strict=True)]
    if rolled.sparse or rolled.sums is not None:
        afferents[0] = replace(afferents[0], sparse=rolled.sparse, fresh=rolled.sums)
    plan = memory.plan
    params = {k: v.to(drive.dtype) for k, v in done.params.items()}
    named = () if plan.storage == "factor" else tuple(done.given.biases)
    return Window(
        plan=plan,
        values=done.numbers,
        afferents=afferents,
        record=Record(done.neuron, rolled.before, drive, params, named, rolled.step, rolled.backend, rolled.s),
        steps=rolled.z.shape[0],
        batch=rolled.z.shape[1],
        unit=tuple(rolled.z.shape[2:]),
        keep=memory.keep,
        counted=layer.counted and plan.storage != "factor",
    )


def _gain(window: Window, memory: Memory, rolled: Rolled) -> Tensor | None:
    """Return the sensitivity of each output to a constant current since the reset, and carry it on."""
    if rolled.sigma is not None:
        memory.sigma = list(rolled.sigma)
        return rolled.history
    blocks = window.blocks
    start: list[Entry] = [None] * len(blocks.B)
    if memory.sigma is not None:
        start = [window.kept(x) for x in memory.sigma]
    before, end = linear_scan(blocks.A, blocks.B, start, window.steps, rank=window.rank)
    total: Entry = blocks.psi
    for entry, value in zip(blocks.D, before, strict=True):
        total = multiply_add(total, entry, value)
    shape = (window.steps, window.batch, *window.unit)
    like = window.record.drive
    memory.sigma = [like.new_zeros(shape[1:]) if x is None else x.expand(shape[1:]) for x in end]
    return like.new_zeros(shape) if total is None else total.expand(shape)


def _attached(layer: Layer, memory: Memory, window: Window, base: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """Return the carried rows, attached to the traces that account for them."""
    if memory.traces is None or memory.plan.storage in ("graph", "none"):
        return base
    names = tuple(k for k in parameters if not k.startswith("weight."))
    seam = Seam(memory.plan, memory.traces, tuple(layer.synapses), names, len(memory.names), window.counted)
    return attach(seam, base, list(parameters.values()))


def _credit_pass(done: Pass, z: Tensor) -> tuple[Tensor, Tensor]:
    layer, memory, rolled, event = done.layer, done.memory, done.rolled, done.event
    plan = memory.plan
    window = _window(done)
    parameters = done.given.all()
    carry, counted = _opening(done, window, parameters)
    last = event is not None and not layer.counted and not plan.window_credit
    gain = None
    if plan.input in ("psi", "window"):
        memory.sigma = None
    elif rolled.history is None or plan.storage != "factor":
        gain = _gain(window, memory, rolled)
    call = Call(
        window=window,
        output=z[-1] if last else z,
        gain=gain,
        last=last,
        names=tuple(k for k in parameters if not k.startswith("weight.")),
        finite=layer.checks_finite(z),
    )
    x = event if event is not None and last else done.xs
    way_back = layer.way_back()
    if done.start is not None:
        averages, memory.sums = average(done.start, window, rolled.h if last else rolled.history, gain, last=last)
        if rolled.sigma is not None:
            memory.sigma = list(rolled.sigma)
        out, carry = factor(call, averages, carry, x=x, way_back=way_back, parameters=list(parameters.values()))
        raw = out
    else:
        out, raw, carry = instant(call, carry, x, way_back, list(parameters.values()))
    sign(out, layer)
    if layer.counted:
        _count(layer, memory, rolled, raw=raw if not last else None, before=counted)
    _commit(layer, memory, rolled)
    _leave(layer, memory, window, carry)
    return (z, out) if last else (out, out[-1] if event is not None else out)


def _opening(done: Pass, window: Window, parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """Return the carried rows with their credit, and the spike count's row where spikes are counted."""
    layer, memory, plan = done.layer, done.memory, window.plan
    if memory.carry is not None:
        return memory.carry, None
    if layer.opened is not None and layer.opened.carry is not None:
        return layer.opened.carry, None
    memory.flush()
    rows = plan.rows(window.size, recurrent=layer.recurrent_synapse is not None)
    base = done.rolled.drive.new_zeros(()).expand(rows + int(window.counted), window.batch, *window.unit)
    whole = _attached(layer, memory, window, base, parameters)
    return (whole[:rows], whole[rows]) if window.counted else (whole, None)


def _leave(layer: Layer, memory: Memory, window: Window, carry: Tensor) -> None:
    if window.plan.storage == "graph":
        memory.carry = carry
    elif layer.opened is not None:
        layer.opened.carry = carry
        layer.opened.windows.append(window)
    elif window.plan.storage != "none" and not (window.plan.storage == "factor" and not window.record.params):
        memory.pending = window


def _count(layer: Layer, memory: Memory, rolled: Rolled, *, raw: Tensor | None, before: Tensor | None) -> None:
    """Add the window's spikes to the count that a rate term reads, with the graph of its gradient."""
    past = memory.count
    if past is not None and memory.keep is not None:
        past = kept(past, memory.keep)
    if past is None:
        past = torch.zeros_like(rolled.z[0])
    opened = layer.opened
    graph = opened.count if opened is not None and opened.count is not None else past
    if before is not None:
        graph = graph + (before if memory.keep is None else kept(before, memory.keep))
    spikes = rolled.z.detach().sum(0)
    count = graph + (spikes if raw is None else raw.sum(0))
    if opened is not None:
        opened.count = count
    memory.count = count if memory.plan.storage == "graph" else past + spikes
    steps = memory.steps if memory.keep is None else memory.steps * memory.keep.to(memory.steps.dtype)
    layer.spikes = (count, steps + rolled.z.shape[0], raw)
