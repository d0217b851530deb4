"""What a layer carries from call to call: plain tensors, outside `state_dict` and the buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from tracetorch.backends import Cotangents, Gradients, Pull, Tape
from tracetorch.engine.known import Known
from tracetorch.engine.spec import Spec
from tracetorch.traces import Trace, Traces, Window
from tracetorch.traces.passing import LEVEL, RESPONSE


class Deferred(Protocol):
    """Traces that are formed when they are read."""

    def traces(self) -> Traces:
        """Return the traces; large ones are changed in place."""
        ...

    def copied(self) -> Deferred:
        """Return the same with traces that share no memory with these."""
        ...

    def unshared(self) -> Deferred:
        """Return the same, of inputs that are to be copied."""
        ...


@dataclass(frozen=True, eq=False)
class LayerState:
    """One layer's state, its traces, and the last window, over which the traces have still to advance.

    Args:
        trace: the layer's trace.
        s: states and counters, `[B, *unit]` each.
        z: the last output, `[B, *unit]`, where there is a recurrent synapse; else None.
        steps: number of steps since the reset, `[B]`.
        keep: `[B]`, zero for rows that the next forward has to reset, or None.
        traces: traces at the start of `pending`, or None after a reset.
        pending: the last window, or what makes up the traces of rows that ran apart, or None.
        sigma: sensitivity of the state to a constant current, `[S, B, (C,) *unit]`, or None.
        count: number of spikes since the reset, `[B, *unit]`, if it is requested.
        carry: carried rows with their graph, where the rule keeps one graph over all calls.
        numbers: the trace's numbers, with what tells whether they still hold.
    """

    trace: Trace
    s: tuple[Tensor, ...]
    z: Tensor | None
    steps: Tensor
    keep: Tensor | None = None
    traces: Traces | None = None
    pending: Window | Deferred | None = None
    sigma: Tensor | None = None
    count: Tensor | None = None
    carry: Tensor | None = None
    numbers: Known | None = None

    @property
    def batch(self) -> int:
        """Number of rows."""
        return self.s[0].shape[0]

    @property
    def credits(self) -> bool:
        """Whether anything is carried for credit."""
        return self.traces is not None or self.pending is not None or self.sigma is not None

    def flushed(self) -> LayerState:
        """Return the state with its traces advanced over the pending window, in place where they are large."""
        pending = self.pending
        if pending is None:
            return self
        if isinstance(pending, Window):
            pending.require_unchanged()
            past = Traces() if self.traces is None else self.traces
            return replace(self, traces=self.trace.advance(past, pending), pending=None)
        return replace(self, traces=pending.traces(), pending=None)

    def copied(self) -> LayerState:
        """Return the same with traces that share no memory with these."""
        if self.pending is not None and not isinstance(self.pending, Window):
            return replace(self, pending=self.pending.copied())
        return self if self.traces is None else replace(self, traces=self.traces.copied())

    def masked(self, value: Tensor) -> Tensor:
        """Return a value of the carried past, `[B, ...]`, zero in rows that are to be reset, whatever was there."""
        if self.keep is None:
            return value
        mask = self.keep.reshape(-1, *[1] * (value.dim() - 1)) > 0
        return torch.where(mask, value, torch.zeros_like(value))

    def marked(self, mask: Tensor) -> LayerState:
        """Return the state with the rows of a mask, `[B]` of booleans, marked to be reset by the next forward."""
        keep = (~mask.to(device=self.s[0].device, dtype=torch.bool)).to(self.steps.dtype)
        return replace(self, keep=keep if self.keep is None else self.keep * keep)

    def without_count(self) -> LayerState:
        """Return the state without the spike count and its traces, which stand behind all others."""
        state = self.flushed()
        if state.traces is None or state.count is None or not state.trace.counts:
            return replace(state, count=None)
        filtered = [row[:-1] for row in state.traces.filtered]
        neuron = {k: row[:-1] for k, row in state.traces.neuron.items()}
        other = {k: x[:, :-1] if k == "pairs.h" else x for k, x in state.traces.other.items()}
        return replace(state, count=None, traces=replace(state.traces, filtered=filtered, neuron=neuron, other=other))

    def ruled(self, trace: Trace) -> LayerState:
        """Return the state under another trace: nothing of what is carried for credit is left."""
        return replace(self.forgotten(), trace=trace)

    def forgotten(self) -> LayerState:
        """Return the state without anything that is carried for credit."""
        count = None if self.count is None else self.count.detach()
        return LayerState(self.trace, self.s, self.z, self.steps, self.keep, count=count)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything as a flat dictionary of copies, the pending window accounted for."""
        flat = {f"s.{i}": x.detach() for i, x in enumerate(self.s)} | {"steps": self.steps}
        for name, value in (("z", self.z), ("keep", self.keep), ("count", self.count), ("sigma", self.sigma)):
            if value is not None:
                flat[name] = value.detach()
        traces = self.traces if self.pending is None else self.copied().flushed().traces
        if traces is not None:
            flat |= {f"traces.{k}": v for k, v in traces.tensors().items()}
        return {k: v.clone() for k, v in flat.items()}

    @staticmethod
    def from_tensors(trace: Trace, flat: dict[str, Tensor]) -> LayerState:
        """Return the state whose `tensors` these are, for a layer's trace."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v.clone() for k, v in flat.items() if k.startswith(prefix)}

        s, traces = part("s."), part("traces.")
        return LayerState(
            trace=trace,
            s=tuple(s[str(i)] for i in range(len(s))),
            z=part("z").get(""),
            steps=flat["steps"].clone(),
            keep=part("keep").get(""),
            traces=Traces.from_tensors(traces) if traces else None,
            sigma=part("sigma").get(""),
            count=part("count").get(""),
        )

    def moved(self, change: Callable[[Tensor], Tensor]) -> LayerState:
        """Return the state after `change`, a move to another device or dtype, was applied to each tensor."""

        def moved(value: Tensor) -> Tensor:
            new = change(value)
            if new.dtype in (torch.float16, torch.bfloat16) and value.dtype != new.dtype:
                return value.to(new.device, torch.float32)  # states and traces stay in single precision
            return new

        state = LayerState.from_tensors(self.trace, {k: moved(v) for k, v in self.tensors().items()})
        return state if self.carry is None else replace(state, carry=moved(self.carry))

    def without_graph(self) -> LayerState:
        """Return the same without the graph of the calls before, which belongs to the network that made them."""
        count = None if self.count is None else self.count.detach()
        pending = None if self.pending is None else self.pending.unshared()
        return replace(self, carry=None, count=count, pending=pending)


def rewired(state: LayerState, trace: Trace) -> LayerState:
    """Return the state after its first step since a reset behind other filters, which change nothing it gave."""
    window = state.pending
    if window is None and state.traces is None:
        return replace(state, trace=trace, numbers=None)
    if not isinstance(window, Window):
        raise RuntimeError(
            "the first step since the reset has shown that the layers run otherwise than they were told, and its "
            "traces have moved on already, as where its rows ran apart (lengths, mask or resets) or the network was "
            "converted after it: call tt.reset(net) and begin again, the network knows now"
        )
    with torch.no_grad():
        numbers = trace.numbers(window.scan.neuron, window.like)
        other = {} if state.traces is None else dict(state.traces.other)
        other = {name: x for name, x in other.items() if name not in (LEVEL, RESPONSE)}
        if numbers.filter is not None and (trace.normalized or numbers.hops):
            b = numbers.filter.b.to(window.like)
            other[RESPONSE] = b.unsqueeze(1).expand(-1, state.batch).clone()
            if trace.sensitive:
                s = window.like.new_zeros(window.size, *window.like.shape)
                ones = torch.ones_like(window.like).unsqueeze(0)
                slope = window.tape.reverse(Cotangents(ones, s), Pull(linked=False)).current
                other[LEVEL] = b.reshape(-1, *[1] * (slope.dim() - 1)) * slope
    pending = replace(window, numbers=numbers)
    return replace(state, trace=trace, traces=Traces(other=other), pending=pending, numbers=None)


def begin(spec: Spec, like: Tensor) -> LayerState:
    """Return the state after a reset, for currents of the form of `like`, `[B, *unit]`."""
    like = like.detach()
    z = torch.zeros_like(like) if spec.recurrent is not None else None
    trace = spec.trace(tuple(like.shape[1:]))
    return LayerState(trace, spec.neuron.zeros(like), z, like.new_zeros(like.shape[0]), numbers=spec.known)


class NoTape:
    """The tape of a window in which nothing was asked to be saved."""

    def currents(self) -> Tensor:
        """Raise RuntimeError."""
        raise RuntimeError("this window was scanned without a tape")

    def reverse(self, cotangents: object, pull: object) -> object:
        """Raise RuntimeError."""
        raise RuntimeError("this window was scanned without a tape")


@dataclass
class OpenWindow:
    """A window that is open: several calls between one attach and one detach.

    Args:
        carry: carried rows after the last call, or None before the first.
        windows: what each call left.
        count: spike count so far with its graph, if it is requested.
        calls: number of calls so far.
    """

    carry: Tensor | None = None
    count: Tensor | None = None
    windows: list[Window] = field(default_factory=list)
    calls: int = 0

    def joined(self) -> Window | None:
        """Return the windows as one; None where none was left."""
        if len(self.windows) < 2:
            return self.windows[0] if self.windows else None
        for window in self.windows:
            window.require_unchanged()
        first, tapes = self.windows[0], [w.tape for w in self.windows]
        steps = sum(w.steps for w in self.windows)
        afferents = []
        for i, a in enumerate(first.afferents):
            parts = [w.afferents[i] for w in self.windows]
            synapse, x = a.synapse.joined([p.synapse for p in parts]), torch.cat([p.x for p in parts])
            afferents.append(replace(a, synapse=synapse, given=x, sums=None, version=None))
        scan = replace(first.scan, drive=first.scan.drive.new_empty(steps, 0))
        return replace(first, scan=scan, tape=JoinedTape(tapes, [w.steps for w in self.windows]), afferents=afferents)


class JoinedTape:
    """Tapes of windows that follow one another, as one; `steps` has the number of steps of each."""

    def __init__(self, tapes: Sequence[Tape], steps: Sequence[int]) -> None:
        self.tapes, self.steps = tapes, steps

    def currents(self) -> Tensor:
        """Return the total currents, `[T, B, *unit]`."""
        return torch.cat([t.currents() for t in self.tapes])

    def reverse(self, cotangents: Cotangents, pull: Pull) -> Gradients:
        """Return the gradients of all windows: those of the last first, which pass on to those before."""
        c, end = cotangents, sum(self.steps)
        events = c.z.shape[0]
        currents: list[Tensor] = []
        parameters: dict[str, Tensor] = {}
        silent = torch.zeros_like(c.z[:1])
        below: list[Tensor] = []
        level, s, fed = c.level, c.s, c.fed
        for tape, steps in zip(reversed(self.tapes), reversed(self.steps), strict=True):
            last = events - (sum(self.steps) - end)
            part = slice(max(last - steps, 0), max(last, 0))
            z = c.z[part] if part.stop > part.start else silent
            raw = None if c.raw is None else (c.raw[part] if part.stop > part.start else silent)
            found = tape.reverse(Cotangents(z, s, raw, c.filter, level, fed), pull)
            s, level, fed, end = found.s, found.level, found.fed, end - steps
            currents.append(found.current)
            for name, value in found.parameters.items():
                parameters[name] = parameters[name] + value if name in parameters else value
            if found.below is not None and part.stop > part.start:
                below.append(found.below)
        sent = torch.cat(below[::-1]) if below else None
        return Gradients(torch.cat(currents[::-1]), s, parameters, level, fed, sent)


def apart(x: Tensor, z: Tensor, drive: Tensor) -> Tensor:
    """Return a state in memory of its own, copied where it shares some with outputs or currents, which callers write.

    A step may return its membrane as its output, as a readout does, or take its current as its next state.
    """
    if torch.compiler.is_compiling():
        return x.clone() if len(z) == 1 else x
    memory = x.untyped_storage().data_ptr()
    shared = memory in (z.untyped_storage().data_ptr(), drive.untyped_storage().data_ptr())
    return x.clone() if shared else x
