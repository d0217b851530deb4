"""One layer over one window: values, then credit by the layer's plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tracetorch.memory import Memory
from tracetorch.neurons import Neuron, bind, effective_parameters
from tracetorch.neurons.blocks import Blocks
from tracetorch.ops import linear_scan
from tracetorch.ops.entries import Entry, multiply_add
from tracetorch.rules.resolve import values
from tracetorch.synapses import Synapse
from tracetorch.traces.attach import Seam, attach
from tracetorch.traces.factor import BIAS, average, factor
from tracetorch.traces.instant import Call, instant
from tracetorch.traces.window import Afferent, Record, Window

if TYPE_CHECKING:
    from tracetorch.layer import Layer


@dataclass(frozen=True)
class Rolled:
    """Hold what a neuron went through in a window: states before each step, currents, outputs, the last state."""

    before: tuple[Tensor, ...]
    drive: Tensor
    z: Tensor
    last: tuple[Tensor, ...]
    z_before: Tensor | None


def roll(neuron: Neuron, layer: Layer, memory: Memory, current: Tensor) -> Rolled:
    """Step a neuron through a window.

    Args:
        neuron: the neuron, bound to its parameters.
        layer: the layer, whose recurrent synapse feeds outputs back.
        memory: where the state comes from.
        current: currents from the layer's input, `[T, B, *unit]`.

    Returns:
        What it went through.
    """
    s = memory.s
    if memory.keep is not None:
        s = tuple(_kept(x, memory.keep) for x in s)
    z_last = memory.z if memory.keep is None or memory.z is None else _kept(memory.z, memory.keep)
    recurrent = layer.recurrent_synapse
    before: list[tuple[Tensor, ...]] = []
    drives, zs, fed = [], [], []
    for t in range(current.shape[0]):
        drive = current[t]
        if recurrent is not None and z_last is not None:
            fed.append(z_last)
            drive = drive + _fed_back(recurrent, z_last, drive)
        before.append(s)
        after, z = neuron.step(neuron.pack(s), drive)
        s, z_last = tuple(after), z
        drives.append(drive)
        zs.append(z)
    return Rolled(
        tuple(_stack([b[i] for b in before]) for i in range(len(s))),
        current if recurrent is None else _stack(drives),
        _stack(zs),
        s,
        _stack(fed) if fed else None,
    )


def _fed_back(recurrent: Synapse, z: Tensor, drive: Tensor) -> Tensor:
    recurrent.check(z)
    fed = recurrent.current(z).to(drive.dtype)
    if fed.shape != drive.shape:
        raise ValueError(
            f"a recurrent synapse gives currents of the units' shape {list(drive.shape[1:])} from such outputs; "
            f"this one gives {list(fed.shape[1:])}"
        )
    return fed


def _stack(rows: list[Tensor]) -> Tensor:
    return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)


def _kept(value: Tensor, keep: Tensor) -> Tensor:
    mask = keep.reshape(-1, *[1] * (value.dim() - 1)) > 0
    return torch.where(mask, value, torch.zeros_like(value))


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
    learns = torch.is_grad_enabled() and (source.requires_grad or layer.learns)
    params = _snapshot(effective_parameters(layer.neuron))
    bound = bind(layer.neuron, params)
    with torch.no_grad():
        current = layer.currents(xs)
        memory = layer.remember(current, learns=learns)
        rolled = roll(bound, layer, memory, current)
    z = rolled.z.to(layer.output_dtype(xs))
    if not learns:
        memory.forget()
        _commit(layer, memory, rolled)
        return z, z[-1]
    record = Record(bound, rolled.before, rolled.drive, _expanded(params, rolled.drive), ())
    return _credit_pass(layer, memory, rolled, record, xs=xs, event=event, z=z)


def _snapshot(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return parameter values that a later step of an optimizer does not change."""
    return {k: v.detach().clone() if v.is_leaf else v.detach() for k, v in params.items()}


def _expanded(params: Mapping[str, Tensor], drive: Tensor) -> dict[str, Tensor]:
    return {k: v.to(drive.dtype) for k, v in params.items()}


def _commit(layer: Layer, memory: Memory, rolled: Rolled) -> None:
    memory.s = tuple(x.detach() for x in rolled.last)
    memory.z = rolled.z[-1].detach() if layer.recurrent_synapse is not None else None
    steps = memory.steps if memory.keep is None else memory.steps * memory.keep.to(memory.steps.dtype)
    memory.steps = steps + rolled.z.shape[0]
    memory.keep = None
    layer.memory = memory
    if layer.opened is not None:
        layer.opened.calls += 1


def _biases(layer: Layer) -> dict[str, Tensor]:
    found = {}
    for i, synapse in enumerate(layer.synapses):
        bias = synapse.bias()
        if bias is not None and bias.requires_grad:
            found[f"{BIAS}{i}"] = bias
    return found


def _traced(layer: Layer) -> list[bool]:
    return [any(w.requires_grad for w in s.weights()) for s in layer.synapses]


def _window(layer: Layer, memory: Memory, record: Record, *, xs: Tensor, z_before: Tensor | None) -> Window:
    drive = record.drive
    inputs = [xs.detach().to(drive.dtype)]
    if z_before is not None:
        inputs.append(z_before.detach())
    afferents = [Afferent(s, x, t) for s, x, t in zip(layer.synapses, inputs, _traced(layer), strict=True)]
    unit = tuple(drive.shape[2:])
    numbers = values(memory.plan, layer.rule, record.neuron, unit, readout=layer.readout, like=drive)
    return Window(
        plan=memory.plan,
        values=numbers,
        afferents=afferents,
        record=record,
        steps=drive.shape[0],
        batch=drive.shape[1],
        unit=unit,
        keep=memory.keep,
        counted=layer.counted and memory.plan.storage != "factor",
    )


def _gain(blocks: Blocks, memory: Memory, window: Window) -> Tensor:
    """Return the sensitivity of each output to a constant current since the reset, and carry it on."""
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


def _parameters(layer: Layer, biases: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return all that credit is given to: weights, then biases and neuron parameters, with their graphs."""
    weights = {f"weight.{i}.{j}": w for i, s in enumerate(layer.synapses) for j, w in enumerate(s.weights())}
    return {**weights, **biases, **effective_parameters(layer.neuron)}


def _credit_pass(
    layer: Layer,
    memory: Memory,
    rolled: Rolled,
    record: Record,
    *,
    xs: Tensor,
    event: Tensor | None,
    z: Tensor,
) -> tuple[Tensor, Tensor]:
    plan = memory.plan
    biases = _biases(layer)
    named = () if plan.storage == "factor" else tuple(biases)
    record = Record(record.neuron, record.before, record.drive, record.params, named)
    window = _window(layer, memory, record, xs=xs, z_before=rolled.z_before)
    parameters = _parameters(layer, biases)
    size, unit = len(layer.neuron.state), window.unit
    rows = plan.rows(size, recurrent=layer.recurrent_synapse is not None)
    like = rolled.drive
    opened = layer.opened
    if memory.carry is not None:
        carry, counted = memory.carry, None
    elif opened is not None and opened.carry is not None:
        carry, counted = opened.carry, None
    else:
        memory.flush()
        base = like.new_zeros(()).expand(rows + int(window.counted), window.batch, *unit)
        whole = _attached(layer, memory, window, base, parameters)
        carry, counted = (whole[:rows], whole[rows]) if window.counted else (whole, None)
    gain = _scale(window, memory)
    last = event is not None and not layer.counted and not plan.window_credit
    x = event if event is not None and last else xs
    call = Call(
        window=window,
        output=z[-1] if last else z,
        gain=gain,
        last=last,
        names=tuple(k for k in parameters if not k.startswith("weight.")),
        finite=layer.checks_finite(z),
    )
    way_back = layer.way_back()
    if plan.storage == "factor":
        averages, memory.sums = average(memory.sums, gain, window, last=last)
        out, carry = factor(call, averages, carry, x=x, way_back=way_back, parameters=list(parameters.values()))
        raw = out
    else:
        out, raw, carry = instant(call, carry, x, way_back, list(parameters.values()))
    if layer.counted:
        _count(layer, memory, rolled, raw=raw if not last else None, before=counted)
    _commit(layer, memory, rolled)
    _leave(layer, memory, window, carry)
    return (z, out) if last else (out, out[-1] if event is not None else out)


def _scale(window: Window, memory: Memory) -> Tensor:
    """Return what scales the signal that goes below: the surrogate, or the sensitivity to a constant current."""
    blocks = window.blocks
    if window.plan.input in ("psi", "window"):
        memory.sigma = None
        like = window.record.drive
        return like.new_zeros(()) if blocks.psi is None else blocks.psi
    return _gain(blocks, memory, window)


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
        past = _kept(past, memory.keep)
    if past is None:
        past = torch.zeros_like(rolled.z[0])
    opened = layer.opened
    graph = opened.count if opened is not None and opened.count is not None else past
    if before is not None:
        graph = graph + (before if memory.keep is None else _kept(before, memory.keep))
    spikes = rolled.z.detach().sum(0)
    count = graph + (spikes if raw is None else raw.sum(0))
    if opened is not None:
        opened.count = count
    memory.count = count if memory.plan.storage == "graph" else past + spikes
    steps = memory.steps if memory.keep is None else memory.steps * memory.keep.to(memory.steps.dtype)
    layer.spikes = (count, steps + rolled.z.shape[0], raw)
