"""One layer's state and traces in the layout that the kernels walk, and the way from and to the layer's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tracetorch.engine import Core, LayerState
from tracetorch.neurons import Neuron
from tracetorch.neurons.scalar import Scalar
from tracetorch.ops.fused.chain import Link
from tracetorch.ops.fused.load import width
from tracetorch.ops.fused.table import COLUMNS, rows
from tracetorch.rules.above import FixedDecay, ReadoutDecay
from tracetorch.synapses import Synapse
from tracetorch.traces import Averaged, Eligibility, InGraph, Presynaptic, Trace, Traces, Untraced
from tracetorch.traces.averages import Sums
from tracetorch.traces.base import Start
from tracetorch.traces.window import BIAS

KINDS: dict[type[Trace], str] = {Untraced: "none", Presynaptic: "pre", Eligibility: "full", Averaged: "factor"}
"""Kinds of traces that the kernels of single steps know, by what they call them; any other is refused."""


@dataclass(frozen=True)
class Part:
    """A layer that compiled kernels can run step by step.

    Args:
        name: its module name.
        core: what it holds beside its modules.
        synapse: the adapter of its synapse.
        neuron: its neuron.
        feedback: fixed matrix through which credit goes below, or None.
        trace: its trace.
        scalar: its neuron's step on plain numbers.
    """

    name: str
    core: Core
    synapse: Synapse
    neuron: Neuron
    feedback: nn.Parameter | None
    trace: Trace
    scalar: Scalar

    @property
    def weight(self) -> Tensor:
        """Weight, `[N, K]`."""
        return self.synapse.weights()[0]

    @property
    def bias(self) -> Tensor | None:
        """Bias, `[N]`, or None."""
        return self.synapse.bias()

    @property
    def storage(self) -> str:
        """What the kernels call the kind of trace."""
        return KINDS[type(self.trace)]

    @property
    def filtered(self) -> bool:
        """Whether eligibilities are filtered, one per weight; an averaged trace filters sensitivities, one per unit."""
        return self.trace.filter is not None and self.storage != "factor"


def unfit(trace: Trace) -> str:
    """Return why a trace cannot be run step by step by compiled kernels; empty where it can."""
    if isinstance(trace, InGraph):
        return "keeps one graph over all steps; take a rule that learns at every step, such as tt.rules.trace()"
    if trace.sequence:
        return "reads averages of a whole sequence; take tt.rules.trace()"
    if type(trace) not in KINDS or not isinstance(trace.filter, FixedDecay | ReadoutDecay | None):
        return f"has a trace of the kind {type(trace).__name__}, which no kernel knows; take tt.rules.drtrl()"
    if trace.copies > 1:
        return (
            "has blocks of its own for the weights (approximate, or a reset with its gradient); take tt.rules.drtrl()"
        )
    return ""


def link_of(part: Part, *, first: bool) -> Link:
    """Return what the compiler needs to know of a layer."""
    gain = part.trace.sensitive
    feedback = part.feedback is not None and not first
    return Link(part.scalar, width(part.weight.shape[0]), part.storage, part.filtered, gain, not first, feedback)


class Cell:
    """One layer's state and traces for a batch, in the layout of the kernels.

    Args:
        part: the layer.
        batch: B.
    """

    def __init__(self, part: Part, batch: int) -> None:
        self.part, self.batch = part, batch
        weight = part.weight.detach()
        self.units, self.inputs = weight.shape
        states, storage = part.scalar.states, part.storage
        self.U = width(self.units)
        self.at = rows(states, len(part.scalar.parameters))
        self.steps = weight.new_zeros(batch)
        state, unit = part.core.state, (self.units,)
        like = weight.new_zeros(batch, *unit)
        values = part.trace.numbers(part.neuron, like)
        numbers = [weight.new_zeros(1) if values.filter is None else values.filter.a.reshape(1).to(weight)]
        square = weight.new_zeros(states, states)
        a, b = (square, square[0]) if values.constant is None else values.constant
        numbers += [a.flatten(), b]
        self.bucket, self.groups = torch.empty(0, dtype=torch.int64), 0
        if isinstance(part.trace, Averaged) and values.decays is not None:
            buckets = part.trace.begin(values, _start(state, like, weight.new_zeros(batch, self.inputs)))
            self.bucket, self.groups = buckets.bucket, buckets.decays.numel()
            numbers += [buckets.decays.to(weight)]
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
            value: Tensor = getattr(part.neuron, name).detach().to(weight)
            self.set(self.at.parameter + i, value.reshape(-1).expand(batch, self.units))
        if state is not None:
            self.load(state)

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
        bias, back = part.bias, part.feedback
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

    def load(self, state: LayerState) -> None:
        """Take over what a layer carries."""
        size, at = self.part.scalar.states, self.at
        for i in range(size):
            self.set(at.state + i, state.s[i])
        if len(state.s) > size:
            self.set(at.counter, state.s[size])
        self.steps.copy_(state.steps)
        for i, x in enumerate(() if state.sigma is None else state.sigma.unbind(0)):
            self.set(at.sigma + i, x)
        traces = (state if state.pending is None else state.copied().flushed()).traces
        if traces is not None:
            self._load_traces(traces)
        if state.keep is not None:
            self.reset(state.keep == 0)

    def _load_traces(self, traces: Traces) -> None:
        size, full = self.part.scalar.states, self.part.storage == "full"
        if self.part.storage == "factor" and traces.other:
            sums = Sums.from_tensors(traces.other)
            self.set(self.at.h, sums.h)
            self.trace.copy_(sums.x[0])
            self.small[0] = sums.h_weight
            self.small[1 : 1 + self.groups] = sums.x_weight
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

    def state(self) -> LayerState:
        """Return what the layer carries, as the layer has it."""
        size, at, trace = self.part.scalar.states, self.at, self.part.trace
        s = [self.get(at.state + i) for i in range(size)]
        s += [self.get(at.counter)] * len(self.part.neuron.counters)
        sigma = torch.stack([self.get(at.sigma + i) for i in range(size)]) if trace.sensitive else None
        traces = None if self.part.storage == "none" else self._traces()
        return LayerState(trace, tuple(s), None, self.steps.clone(), traces=traces, sigma=sigma)

    def _traces(self) -> Traces:
        if self.part.storage == "factor":
            weights = self.small[1 : 1 + self.groups].clone()
            sums = Sums(self.get(self.at.h), self.small[0].clone(), (self.trace.clone(),), weights, self.bucket)
            return Traces(other=sums.tensors())
        size, full = self.part.scalar.states, self.part.storage == "full"
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


def _start(state: LayerState | None, like: Tensor, x: Tensor) -> Start:
    return Start(None, None, None, like, x) if state is None else Start(state.traces, state.sigma, state.keep, like, x)
