r"""A trace: what stands for the dependence of a layer's past on its weights.

Each kind is one file, which opens with its definition. A trace is an immutable value that a rule's weight credit makes
for one layer; what it carries from window to window are `Traces`, plain tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from tracetorch.backends import Cotangents, Filter, Gradients, Outputs, Pull, Save, Sensitivity
from tracetorch.neurons import Neuron
from tracetorch.synapses import Synapse
from tracetorch.traces.passing import LEVEL, RESPONSE, Closed, Credit, Pulled, Start
from tracetorch.traces.response import ones_through
from tracetorch.traces.window import Afferent, Numbers, Traces, Window

InputCredit = Literal["window", "psi", "gain", "trace", "cascade"]


@dataclass(frozen=True)
class Context:
    """What a weight credit knows of the layer that it makes a trace for.

    Args:
        rule: the rule's name, for messages.
        neuron: the layer's neuron.
        unit: shape of its units.
        input: what the rule sends to the layer below.
        filter: the decay of the output filter, to be read anew at each call; None for no filter.
        sequence: whether one scan is the whole sequence.
    """

    rule: str
    neuron: Neuron
    unit: tuple[int, ...]
    input: InputCredit
    filter: OutputFilter | None = None
    sequence: bool = False


class OutputFilter(ABC):
    """Where the filter that stands above a layer's outputs comes from."""

    @property
    def normalized(self) -> bool:
        """Whether cotangents are ones on the filter's output over its response to ones, instead of on its output."""
        return False

    @abstractmethod
    def at(self, neuron: Neuron, like: Tensor) -> Filter:
        """Return the filter as it is now, for a layer of a neuron, in the dtype and on the device of `like`."""


class WeightCredit(ABC):
    """How much of a layer's past its weights are credited with: the part of a rule that makes a layer's trace.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.ottt().weight
        Pre(detach_reset=True, approximate=False)
    """

    @property
    def storage(self) -> str:
        """Return in a few words what is stored per layer."""
        return repr(self)

    @abstractmethod
    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer; raise ValueError where the layer's neuron cannot be represented."""


@dataclass(frozen=True)
class Trace(ABC):
    """One kind of trace for one layer.

    Args:
        input: what is sent to the layer below, times the learning signal.
        filter: where the filter above the outputs comes from; None for none.
    """

    input: InputCredit
    filter: OutputFilter | None = None

    @property
    def in_graph(self) -> bool:
        """Whether the rows keep their graph from call to call."""
        return False

    @property
    def sequence(self) -> bool:
        """Whether one scan is the whole sequence."""
        return False

    @property
    def counts(self) -> bool:
        """Whether a count of the outputs has an eligibility of its own; else its cotangents are ones of the outputs."""
        return True

    @property
    def linked(self) -> bool:
        """Whether credit passes from step to step inside a window."""
        return True

    @property
    def copies(self) -> int:
        """How often the states stand in the carried rows: once more where the weights go back by their own blocks."""
        return 1

    @property
    def window_credit(self) -> bool:
        """Whether credit inside the window is autograd's own."""
        return self.input == "window"

    @property
    def sensitive(self) -> bool:
        """Whether the sensitivity to a constant current is carried."""
        return self.input in ("gain", "cascade")

    @property
    def normalized(self) -> bool:
        """Whether cotangents are ones on the filter's output over its response to ones."""
        return self.filter is not None and self.filter.normalized

    def carries(self, *, last: bool) -> bool:
        """Return whether a window without an event costs nothing but what is carried forward.

        Args:
            last: whether a single event follows, with a window of its own.

        Returns:
            Whether it does.

        Returns:
            Whether it does.
        """
        return False

    def taped(self, *, silent: bool) -> bool:
        """Return whether a window's tape is read even where no parameter of the neuron learns.

        Args:
            silent: whether the window has no event in it.

        Returns:
            Whether it is.
        """
        return True

    def numbers(self, neuron: Neuron, like: Tensor) -> Numbers:
        """Return the trace's numbers now, for a neuron bound to its parameters."""
        return Numbers(None if self.filter is None else self.filter.at(neuron, like))

    def rows(self, window: Window) -> int:
        """Return the number of rows that carry cotangents from window to window, the spike count's apart.

        States come first (twice where the weights have blocks of their own), then those of the filter above, then the
        last output where it is fed back inside the window.
        """
        filter = window.numbers.filter
        fed = self.window_credit and window.scan.recurrent is not None
        return window.size * self.copies + (0 if filter is None else filter.size) + int(fed)

    def save(self, neuron: Neuron, numbers: Numbers, start: Start, steps: int, *, silent: bool, last: bool) -> Save:
        """Return what a forward scan is asked to save.

        Args:
            neuron: the neuron.
            numbers: the trace's numbers.
            start: the carried past.
            steps: T.
            silent: whether the window has no event in it.
            last: whether its last step is the only event.

        Returns:
            The request.

        Returns:
            The request.
        """
        return Save(tape=True, sensitivity=self.sensitivity(neuron, numbers, start, history=not silent))

    def sensitivity(self, neuron: Neuron, numbers: Numbers, start: Start, *, history: bool) -> Sensitivity | None:
        """Return the request for the outputs' sensitivity, where it is carried; behind the filter for a cascade."""
        if not self.sensitive:
            return None
        filter = numbers.filter if self.normalized else None
        level = start.level(LEVEL, (0 if filter is None else filter.size, *start.like.shape))
        return Sensitivity(sigma_at(start, len(neuron.state)), filter, level, history)

    def advance(self, traces: Traces | None, window: Window) -> Traces:
        """Return the traces after a window; large ones are changed in place.

        Args:
            traces: the traces at its start, or None after a reset.
            window: the window.

        Returns:
            The traces after the window.

        Returns:
            The traces after the window.
        """
        return Traces()

    def large(self, traces: Traces) -> list[Tensor]:
        """Return the tensors that `advance` changes in place."""
        return [x for row in traces.filtered for x in row]

    def contract(
        self, traces: Traces, bar: Tensor, synapses: Sequence[Synapse], size: int
    ) -> list[list[tuple[Tensor, ...]]]:
        """Return, synapse by synapse, the terms of the weights' gradients from cotangents of the carried rows.

        Args:
            traces: the traces.
            bar: the cotangents, `[rows, B, *unit]`.
            synapses: the layer's synapses.
            size: S.

        Returns:
            For each synapse, its terms; each has a gradient for each weight.

        Returns:
            For each synapse, its terms; each has a gradient for each weight.
        """
        offset = size * self.copies
        found: list[list[tuple[Tensor, ...]]] = []
        for i, synapse in enumerate(synapses):
            filtered = traces.filtered[i] if i < len(traces.filtered) else []
            found.append([synapse.contract(bar[offset + k], trace) for k, trace in enumerate(filtered)])
        return found

    def close(self, start: Start, window: Window, outputs: Outputs, *, silent: bool, last: bool) -> Closed:
        """Return how a window is credited, and what it leaves to the next.

        Args:
            start: the carried past.
            window: the window.
            outputs: what its scan gave.
            silent: whether the window has no event in it.
            last: whether its last step is the only event.

        Returns:
            The credit, and what is carried on.

        Returns:
            The credit, and what is carried on.
        """
        gain, filter = outputs.sensitivity if self.sensitive else None, window.numbers.filter
        if not self.normalized or filter is None:
            return Closed(None if silent else WindowCredit(self, window, gain), start.traces, window)
        size = (filter.size, start.like.shape[0])
        n, response = ones_through(filter, start.level(RESPONSE, size), window.steps)
        n = n.reshape(*n.shape, *[1] * len(window.unit))
        past = Traces() if start.traces is None else start.traces
        carried = {RESPONSE: response}
        if gain is not None and outputs.level is not None:
            gain, carried[LEVEL] = gain / last_of(n, gain), outputs.level
        traces = replace(past, other=past.other | carried)
        return Closed(None if silent else WindowCredit(self, window, gain, n), traces, window)


def sigma_at(start: Start, size: int) -> Tensor:
    """Return the sensitivity of S states at a window's start, `[S, B, *unit]`."""
    if start.sigma is None:
        return start.like.new_zeros(size, *start.like.shape)
    return start.masked(start.sigma, 1)


@dataclass(frozen=True)
class WindowCredit(Credit):
    r"""Credit by the reverse pass of the window, and below by a factor at each step.

    .. math:: \Delta W = \sum_t q_t \otimes x_t + \langle \lambda_0, E_0 \rangle, \qquad
        \text{below: } \mathrm{synapse}^\top (c_t \odot L_t)

    Args:
        trace: the layer's trace.
        window: the window.
        gain: the outputs' sensitivity, `[T, B, *unit]` or of the last step alone; None for psi.
        norm: the filter's response to ones at each step, `[T, B, ...]`, by which cotangents are divided; None for one.
    """

    trace: Trace
    window: Window
    gain: Tensor | None
    norm: Tensor | None = None

    def pull(self, z_bar: Tensor, raw: Tensor | None, carry: Tensor, *, below: bool) -> Pulled:
        """Return what cotangents give; see `Credit`."""
        trace, w, cotangents = self.trace, self.window, z_bar
        if self.norm is not None:
            z_bar = z_bar / last_of(self.norm, z_bar)
        size, copies = w.size, trace.copies
        filter = w.numbers.filter
        above = 0 if filter is None else filter.size
        offset = size * copies
        level = None if filter is None else carry[offset : offset + above]
        fed = carry[-1] if trace.window_credit and w.scan.recurrent is not None else None
        instant = below and self.gain is None and not trace.window_credit
        pull = Pull(trace.linked, None, w.learned, instant)
        own = w.tape.reverse(Cotangents(z_bar, carry[offset - size : offset], raw, filter, level, fed), pull)
        weights = own
        if copies > 1:
            constant = Pull(trace.linked, w.numbers.constant)
            weights = w.tape.reverse(Cotangents(z_bar, carry[:size], raw, filter, level, fed), constant)
        start = torch.zeros_like(carry)
        if trace.linked:
            start[offset - size : offset] = w.masked(own.s)
            if copies > 1:
                start[:size] = w.masked(weights.s)
        if own.level is not None:
            start[offset : offset + above] = w.masked(own.level)
        if own.fed is not None and fed is not None:
            start[-1] = w.masked(own.fed)
        neuron: dict[str, Tensor | None] = dict.fromkeys(w.biases, own.current)
        neuron |= own.parameters
        return Pulled(weight_grads(w.afferents, weights.current), neuron, start, self._below(own, cotangents, below))

    def _below(self, own: Gradients, z_bar: Tensor, below: bool) -> Tensor | None:
        if not below:
            return None
        if self.trace.window_credit:
            return own.current
        if self.gain is None:
            return own.below
        return last_of(self.gain, z_bar) * z_bar


def weight_grads(afferents: Sequence[Afferent], q: Tensor) -> list[Tensor | None]:
    """Return the weights' gradients from the currents' cotangents, `[T, B, (C,) *unit]`, synapse by synapse."""
    grads: list[Tensor | None] = []
    for afferent in afferents:
        if afferent.traced:
            grads += afferent.weight_grad(q.reshape(-1, *q.shape[2:]))
        else:
            grads += [None] * len(afferent.synapse.weights())
    return grads


def last_of(values: Tensor, events: Tensor) -> Tensor:
    """Return the values of the last steps, as many as there are events."""
    return values[-events.shape[0] :] if values.shape[0] > events.shape[0] else values


def sum_to(value: Tensor, shape: torch.Size) -> Tensor:
    """Return per-unit cotangents summed to the shape of the parameter they belong to."""
    return value.sum_to_size(shape) if value.shape != shape else value
