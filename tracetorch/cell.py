"""One layer's state and traces in the layout that the kernels walk, and the way from and to the layer's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tracetorch.memory import Memory
from tracetorch.neurons.scalar import Scalar
from tracetorch.ops.fused.chain import Link
from tracetorch.ops.fused.load import width
from tracetorch.ops.fused.table import COLUMNS, rows
from tracetorch.rules.resolve import values
from tracetorch.traces.averages import Sums, begin
from tracetorch.traces.plan import Plan
from tracetorch.traces.window import BIAS, Traces, as_scalar

if TYPE_CHECKING:
    from tracetorch.layer import Layer


@dataclass(frozen=True)
class Part:
    """Hold a layer that compiled kernels can run step by step.

    Args:
        name: its module name.
        layer: the layer.
        plan: its rule, resolved.
        scalar: its neuron's step on plain numbers.
    """

    name: str
    layer: Layer
    plan: Plan
    scalar: Scalar

    @property
    def weight(self) -> Tensor:
        """Weight, `[N, K]`."""
        return self.layer.synapses[0].weights()[0]

    @property
    def bias(self) -> Tensor | None:
        """Bias, `[N]`, or None."""
        return self.layer.synapses[0].bias()

    @property
    def filtered(self) -> bool:
        """Whether eligibilities are filtered, one per weight; the factor rule filters sensitivities, one per unit."""
        return self.plan.filtered and self.plan.storage != "factor"


COMPILED = ("none", "pre", "full", "factor")
"""Kinds of traces that the kernels of single steps know; any other is refused."""


def unfit(plan: Plan) -> str:
    """Return why a plan cannot be run step by step by compiled kernels; empty where it can."""
    if plan.storage == "graph":
        return "keeps one graph over all steps; take a rule that learns at every step, such as tt.rules.trace()"
    if plan.sequence:
        return "reads averages of a whole sequence; take tt.rules.trace()"
    if plan.storage not in COMPILED:
        return f"has traces of the kind {plan.storage!r}, which no kernel knows; take tt.rules.drtrl()"
    if plan.storage == "factor":
        return ""
    if plan.approximate:
        return (
            "has blocks of its own for the weights (approximate, or a reset with its gradient); take tt.rules.drtrl()"
        )
    return ""


def link_of(part: Part, *, first: bool) -> Link:
    """Return what the compiler needs to know of a layer."""
    layer, plan = part.layer, part.plan
    gain = plan.input == "gain" or plan.storage == "factor"
    feedback = layer.feedback is not None and not first
    return Link(part.scalar, width(part.weight.shape[0]), plan.storage, part.filtered, gain, not first, feedback)


class Cell:
    """Hold a layer's state and traces for a batch.

    Args:
        part: the layer.
        batch: B.
    """

    def __init__(self, part: Part, batch: int) -> None:
        self.part, self.batch = part, batch
        weight = part.weight.detach()
        self.units, self.inputs = weight.shape
        states, storage = part.scalar.states, part.plan.storage
        self.U = width(self.units)
        self.at = rows(states, len(part.scalar.parameters))
        self.steps = weight.new_zeros(batch)
        memory, unit = part.layer.memory, (self.units,)
        given = values(part.plan, part.layer.rule, part.layer.neuron, unit, readout=part.layer.readout, like=weight)
        numbers = [as_scalar(given.filter, weight).reshape(1)]
        square = weight.new_zeros(states, states)
        numbers += [square.flatten() if given.transition is None else given.transition.flatten()]
        numbers += [square[0] if given.drive is None else given.drive]
        self.bucket, self.groups = torch.empty(0, dtype=torch.int64), 0
        if given.decays is not None:
            start = begin(None if memory is None else memory.sums, given.decays, unit, part.plan.buckets, None)
            self.bucket, self.groups = start.bucket, start.decays.numel()
            numbers += [start.decays.to(weight)]
        self.numbers = torch.cat(numbers).contiguous()
        self.buckets = self.bucket if self.bucket.numel() else torch.zeros(self.units, dtype=torch.int64)
        chunks = -(-self.units // self.U)
        each = (states if storage == "full" else 0) + int(part.filtered)
        self.flat = weight.new_zeros(2, batch, self.units)
        self.trace = weight.new_zeros({"pre": states, "factor": self.groups}.get(storage, 0), batch, self.inputs)
        self.large = weight.new_zeros(each, batch, self.units, self.inputs)
        self.small = weight.new_zeros(1 + self.groups + states, batch)
        self.space = weight.new_zeros(batch, chunks, self.at.total, self.U)
        self.space[:, :, self.at.parameter :] = 1
        for i, name in enumerate(part.scalar.parameters):
            value: Tensor = getattr(part.layer.neuron, name).detach().to(weight)
            self.set(self.at.parameter + i, value.reshape(-1).expand(batch, self.units))
        if memory is not None:
            self.load(memory)

    def get(self, row: int) -> Tensor:
        """Return a copy of a row of all blocks, `[B, N]`."""
        return self.space[:, :, row].reshape(self.batch, -1)[:, : self.units].clone()

    def set(self, row: int, value: Tensor) -> None:
        """Write a row of all blocks, `[B, N]`."""
        chunks = self.space.shape[1]
        whole = self.space[:, :, row].reshape(self.batch, chunks * self.U).clone()
        whole[:, : self.units] = value
        self.space[:, :, row] = whole.view(self.batch, chunks, self.U)

    def block(self) -> Tensor:
        """Return all of a step in one block: units, traces per input, sums of weights, inputs."""
        inputs = self.space.new_zeros(self.batch * self.inputs)
        return torch.cat([piece.reshape(-1) for piece in (self.space, self.trace, self.small, inputs)])

    def take(self, block: Tensor) -> None:
        """Read back what `block` gave."""
        at = 0
        for piece in (self.space, self.trace, self.small):
            piece.copy_(block[at : at + piece.numel()].view(piece.shape))
            at += piece.numel()

    def addresses(self) -> list[int]:
        """Return the layer's row of the table."""
        part = self.part
        bias, back = part.bias, part.layer.feedback
        tensors = (self.space, self.flat, self.trace, self.large, self.small, self.numbers, self.buckets)
        row = [part.weight.data_ptr(), 0 if bias is None else bias.data_ptr(), 0 if back is None else back.data_ptr()]
        row += [t.data_ptr() for t in tensors]
        row += [self.batch, self.units, self.inputs, self.groups]
        return row + [0] * (COLUMNS - len(row))

    def reset(self, mask: Tensor) -> None:
        """Begin some rows of the batch anew, `[B]`."""
        self.space[mask, :, self.at.counter : self.at.parameter] = 0
        self.small[:, mask] = 0
        self.steps[mask] = 0
        self.trace[:, mask] = 0
        self.large[:, mask] = 0

    def load(self, memory: Memory) -> None:
        """Take over what a layer carries."""
        size, at = self.part.scalar.states, self.at
        for i in range(size):
            self.set(at.state + i, memory.s[i])
        if len(memory.s) > size:
            self.set(at.counter, memory.s[size])
        self.steps.copy_(memory.steps)
        for i, x in enumerate(memory.sigma or ()):
            self.set(at.sigma + i, x)
        if memory.sums is not None:
            self.set(at.h, memory.sums.h)
            self.trace.copy_(memory.sums.x[0])
            self.small[0] = memory.sums.h_weight
            self.small[1 : 1 + self.groups] = memory.sums.x_weight
        traces = memory.flushed()
        if traces is not None:
            self._load_traces(traces)
        if memory.keep is not None:
            self.reset(memory.keep == 0)

    def _load_traces(self, traces: Traces) -> None:
        size, full = self.part.scalar.states, self.part.plan.storage == "full"
        filters = int(self.part.filtered)  # behind it there may be the trace of a rate term that has been closed
        rows = [x for table in (traces.weight, traces.filtered) if table for x in table[0]]
        for place, row in zip([*self.trace, *self.large], rows, strict=False):
            place.copy_(row.view(place.shape))
        for i, x in enumerate(traces.neuron.get(f"{BIAS}0", [])[: size + filters]):
            if i == size:
                self.set(self.at.filtered, x)
            elif full:
                self.set(self.at.bias + i, x)
            else:
                self.small[1 + self.groups + i] = x[:, 0]

    def memory(self) -> Memory:
        """Return what the layer carries, as the layer has it."""
        size, at, plan, neuron = self.part.scalar.states, self.at, self.part.plan, self.part.layer.neuron
        s = [self.get(at.state + i) for i in range(size)]
        s += [self.get(at.counter)] * len(neuron.counters)
        made: dict[str, Any] = {"plan": plan, "s": tuple(s), "z": None, "names": neuron.state}
        if plan.input == "gain" or plan.storage == "factor":
            made["sigma"] = [self.get(at.sigma + i) for i in range(size)]
        if plan.storage == "factor":
            weights = self.small[1 : 1 + self.groups].clone()
            made["sums"] = Sums(self.get(at.h), self.small[0].clone(), (self.trace.clone(),), weights, self.bucket)
        elif plan.storage != "none":
            made["traces"] = self._traces()
        return Memory(steps=self.steps.clone(), **made)

    def _traces(self) -> Traces:
        size, full = self.part.scalar.states, self.part.plan.storage == "full"
        large = [x.clone().view(self.batch, 1, self.units, 1, self.inputs) for x in self.large]
        weight = [x.clone() for x in self.trace] + (large[:size] if full else [])
        neuron: dict[str, list[Tensor]] = {}
        if self.part.bias is not None:
            if full:
                row = [self.get(self.at.bias + i) for i in range(size)]
            else:
                row = [x.unsqueeze(1).repeat(1, self.units) for x in self.small[1 + self.groups :]]
            neuron[f"{BIAS}0"] = row + [self.get(self.at.filtered)] * self.part.filtered
        return Traces(weight=[weight], filtered=[large[size if full else 0 :]], neuron=neuron)
