"""A neuron's way through a window: step by step, or in one walk of a compiled kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tracetorch.memory import Memory
from tracetorch.neurons import Neuron
from tracetorch.neurons.scalar import Scalar
from tracetorch.ops import power_weights, walk
from tracetorch.ops.walk import Backend
from tracetorch.synapses import Synapse
from tracetorch.traces.averages import Start, powers

if TYPE_CHECKING:
    from tracetorch.layer import Layer


@dataclass(frozen=True)
class Rolled:
    """Hold what a neuron went through in a window.

    Args:
        before: states and counters before each step, `[T, B, *unit]` each; empty where a walk did not keep them.
        s: states and counters before the window where kernels walked, `[B, *unit]` each.
        drive: currents, `[T, B, *unit]`; of no elements but the same dtype where a walk did not keep them.
        z: outputs, `[T, B, *unit]`.
        last: states and counters after the window, `[B, *unit]` each.
        z_before: outputs that were fed back, `[T, B, *unit]`, or None.
        backend: whose kernels walked.
        step: the neuron's step on plain numbers where kernels walked.
        sigma: sensitivities of the states to a constant current after the window, S of `[B, *unit]`, or None.
        h: the decayed sum of the outputs' sensitivities after the window, `[1, B, *unit]`, or None.
        history: the same after every step, `[T, B, *unit]`, or None.
        sums: weighted sums of the inputs, `[R, B, *in]`, or None.
        sparse: whether the inputs are walked by their events.
        room: the outputs with room for one more step, `[T + 1, B, *unit]`, where it was asked for.
        finite: whether the inputs were found finite, where they were walked by their events.
    """

    before: tuple[Tensor, ...]
    drive: Tensor
    z: Tensor
    last: tuple[Tensor, ...]
    z_before: Tensor | None = None
    backend: Backend = "reference"
    step: Scalar | None = None
    sigma: tuple[Tensor, ...] | None = None
    h: Tensor | None = None
    history: Tensor | None = None
    sums: Tensor | None = None
    sparse: bool = False
    room: Tensor | None = None
    s: tuple[Tensor, ...] = ()
    finite: bool = True


@dataclass(frozen=True)
class Wanted:
    """Say what credit will need of a walk.

    Args:
        record: whether the currents are kept.
        states: whether the states before each step are kept.
        decay: decay of the sum of sensitivities; None where they are not wanted.
        averaged: where the averages begin that are wanted of the inputs; None for none.
        pre: A and B of a presynaptic trace over the window; None for none.
        history: whether the sum of sensitivities is wanted after every step.
        room: number of steps for which the outputs leave room at their end.
    """

    record: bool = False
    states: bool = False
    decay: float | None = None
    averaged: Start | None = None
    pre: tuple[Tensor, Tensor] | None = None
    history: bool = False
    room: int = 0


@dataclass(frozen=True)
class Choice:
    """Say how a window is walked.

    Args:
        backend: whose kernels.
        step: the neuron's step on plain numbers; None where it is walked step by step.
        sparse: whether the inputs are walked by their events.
    """

    backend: Backend = "reference"
    step: Scalar | None = None
    sparse: bool = False


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
        s = tuple(kept(x, memory.keep) for x in s)
    z_last = memory.z if memory.keep is None or memory.z is None else kept(memory.z, memory.keep)
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
        tuple(s),
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


def kept(value: Tensor, keep: Tensor) -> Tensor:
    """Return a state of the carried past, `[B, ...]`, zero in rows that were reset, whatever was there."""
    mask = keep.reshape(-1, *[1] * (value.dim() - 1)) > 0
    return torch.where(mask, value, torch.zeros_like(value))


def walk_through(neuron: Neuron, layer: Layer, memory: Memory, xs: Tensor, choice: Choice, wanted: Wanted) -> Rolled:
    """Walk a neuron through a window by a compiled kernel.

    Args:
        neuron: the neuron, bound to its parameters.
        layer: the layer.
        memory: where the state comes from.
        xs: inputs, `[T, B, *in]`.
        choice: whose kernels, and how.
        wanted: what credit will need.

    Returns:
        What it went through.
    """
    steps, batch = xs.shape[:2]
    unit = tuple(memory.s[0].shape[1:])
    flat = (batch, math.prod(unit))
    step: Any = choice.step
    params = [getattr(neuron, name).detach() for name in step.parameters]
    params = [v.reshape(()) if v.numel() == 1 else v.expand(unit).reshape(-1) for v in params]
    s = [(v if memory.keep is None else kept(v, memory.keep)).reshape(flat) for v in memory.s]
    size, like = step.states, s[0]
    asked: dict[str, Any] = {
        "record": wanted.record,
        "states": wanted.states,
        "history": wanted.history,
        "room": wanted.room,
    }
    if wanted.decay is not None:
        sigma, h = like.new_zeros(size, *flat), like.new_zeros(flat)
        if memory.sigma is not None:
            rows = memory.sigma if memory.keep is None else [kept(x, memory.keep) for x in memory.sigma]
            sigma = torch.stack([x.reshape(flat) for x in rows])
        if wanted.averaged is not None and wanted.averaged.sums is not None:
            h = wanted.averaged.sums.h.reshape(flat)
        asked["traced"] = (sigma, h, wanted.decay)
    if choice.sparse:
        x, synapse = xs, (layer.synapses[0].weights()[0], layer.synapses[0].bias())
        asked["sums"] = _input_sums(xs, wanted)
    else:
        x, synapse = layer.currents(xs).reshape(steps, *flat), None
    found = walk.forward(choice.backend, step, x, synapse, s=s, params=params, **asked)

    def shaped(value: Tensor) -> Tensor:
        return value.view(*value.shape[:-2], batch, *unit)

    traced = wanted.decay is not None
    return Rolled(
        before=tuple(shaped(v) for v in found.before),
        drive=shaped(found.drive) if wanted.record else like.new_empty(0),
        z=shaped(found.z[:steps]),
        last=tuple(shaped(v) for v in found.last),
        backend=choice.backend,
        step=step,
        sigma=tuple(shaped(found.sigma).unbind(0)) if traced else None,
        h=shaped(found.h).unsqueeze(0) if traced else None,
        history=shaped(found.history) if wanted.history else None,
        sums=found.sums if choice.sparse and asked["sums"] is not None else None,
        sparse=choice.sparse,
        room=shaped(found.z) if wanted.room else None,
        s=tuple(shaped(v) for v in s),
        finite=found.finite,
    )


def _input_sums(xs: Tensor, wanted: Wanted) -> tuple[Tensor, Tensor] | None:
    """Return the weights `[R, T]` and the start `[R, B, K]` of the sums of inputs that credit will need."""
    steps = xs.shape[0]
    if wanted.averaged is not None:
        decays = wanted.averaged.decays.to(xs)
        held = None if wanted.averaged.sums is None else wanted.averaged.sums.x[0]
        shape = (decays.shape[0], *xs.shape[1:])
        start = xs.new_zeros(shape) if held is None else held * (decays**steps).reshape(-1, 1, 1)
        return powers(decays, steps), start
    if wanted.pre is not None:
        weights = power_weights(*wanted.pre, steps)[0].t()
        return weights, xs.new_zeros(weights.shape[0], *xs.shape[1:])
    return None
