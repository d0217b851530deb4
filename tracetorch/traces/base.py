r"""A trace: what stands for the dependence of a layer's past on its weights.

Each kind is one file, which opens with its definition. A trace is an immutable value that a rule's weight credit makes
for one layer; what it carries from window to window are `Traces`, plain tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tracetorch.backends import Cotangents, Gradients, Outputs, Pull, Save, Sensitivity, padded
from tracetorch.neurons import Neuron
from tracetorch.ops.pool import into_pool
from tracetorch.synapses import Synapse
from tracetorch.traces.bank import NO_WAY, OutputFilter, Way, hopping, inside_of
from tracetorch.traces.hops import hopped
from tracetorch.traces.parameters import contract_parameter
from tracetorch.traces.passing import LEVEL, RESPONSE, Closed, Credit, Pulled, Start, last_of
from tracetorch.traces.response import ones_through
from tracetorch.traces.window import Afferent, Numbers, Traces, Window

InputCredit = Literal["window", "inside", "psi", "gain", "trace", "cascade"]


@dataclass(frozen=True)
class Context:
    """What a weight credit knows of the layer that it makes a trace for.

    Args:
        rule: the rule's name, for messages.
        neuron: the layer's neuron.
        unit: shape of its units.
        input: what the rule sends to the layer below.
        filter: the decay of the output filter, to be read again at each call; None for no filter.
        sequence: whether one scan is the whole sequence.
        entries: number of numbers of one full eligibility, per row of the batch.
        shared: whether all units see an input by the same features, as they do but behind a norm.
    """

    rule: str
    neuron: Neuron
    unit: tuple[int, ...]
    input: InputCredit
    filter: OutputFilter | None = None
    sequence: bool = False
    entries: int = 0
    shared: bool = True

    def require_one_current(self) -> None:
        """Raise ValueError where the neuron takes several currents per unit, for each of which it has a memory."""
        if len(self.neuron.currents) > 1:
            raise ValueError(
                f"rule {self.rule!r} pairs one memory per unit with the inputs, and {self.neuron._get_name()} takes "
                f"several currents per unit ({', '.join(self.neuron.currents)}); tt.rules.drtrl() is exact here"
            )


class WeightCredit(ABC):
    """How much of a layer's past its weights are credited with: the part of a rule that makes a layer's trace.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.ottt().weight
        Pre(detach_reset=True, approximate=False)
    """

    inputs: ClassVar[tuple[InputCredit, ...]] = ("window", "psi", "gain", "cascade")
    """What a rule with it may send to the layer below."""
    per_unit: ClassVar[bool] = False
    """Whether its traces serve synapses whose features differ from unit to unit."""

    @property
    def storage(self) -> str:
        """Return in a few words what is stored per layer."""
        return repr(self)

    def stored(self, trace: Trace) -> str:
        """Return in a few words what a layer with such a `trace` stores."""
        return self.storage

    @abstractmethod
    def trace(self, context: Context) -> Trace:
        """Return the trace of the layer of a `context`; raise ValueError where its neuron cannot be represented."""


@dataclass(frozen=True)
class Trace(ABC):
    """One kind of trace for one layer: what is sent below times the learning signal, and the filter above, if any."""

    input: InputCredit
    filter: OutputFilter | None = None

    in_graph: ClassVar[bool] = False
    """Whether the rows keep their graph from call to call."""

    @property
    def sequence(self) -> bool:
        """Whether one scan is the whole sequence."""
        return False

    counts: ClassVar[bool] = True
    """Whether a count of the outputs has its own eligibility; else its cotangents are ones of the outputs."""

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
        return self.input in ("window", "inside")

    @property
    def fed(self) -> bool:
        """Whether credit goes back through recurrent outputs inside a window, by one more carried row."""
        return self.input == "window"

    traces_fed: ClassVar[bool] = False
    """Whether a trace stands for that row."""

    @property
    def sensitive(self) -> bool:
        """Whether the sensitivity to a constant current is carried."""
        return self.input in ("gain", "cascade") or (self.filter is not None and self.filter.hops > 0)

    @property
    def normalized(self) -> bool:
        """Whether cotangents are ones on the filter's output over its response to ones."""
        return self.filter is not None and self.filter.normalized

    def carries(self, *, last: bool) -> bool:
        """Return whether a window without an event costs nothing but what is carried; `last`: one event follows."""
        return False

    def taped(self, *, silent: bool) -> bool:
        """Return whether the tape of a window, of a silent one without events, is read where no parameter learns."""
        return True

    def reads(self, *, silent: bool, last: bool) -> bool:
        """Return whether inputs are read after the scan, be the window silent or its last step the only event."""
        return True

    def numbers(self, neuron: Neuron, like: Tensor) -> Numbers:
        """Return the trace's numbers now, for a neuron bound to its parameters."""
        if self.filter is None or self.filter.states == 0:
            return Numbers()
        bank = self.filter.bank(neuron, like)
        if bank is None:
            return Numbers(self.filter.at(neuron, like))
        return Numbers(bank.only, bank=bank, hops=self.filter.hops)

    def rows(self, window: Window) -> int:
        """Return the number of rows that carry cotangents from window to window, the spike count's apart.

        States come first (twice where the weights have their own blocks), then those of the filter above, then the
        last output where it is fed back inside the window.
        """
        filter = window.numbers.filter
        fed = self.fed and window.scan.recurrent is not None
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
        """
        return Save(tape=True, sensitivity=self.sensitivity(neuron, numbers, start, history=not (silent or last)))

    def sensitivity(self, neuron: Neuron, numbers: Numbers, start: Start, *, history: bool) -> Sensitivity | None:
        """Return the request for the outputs' sensitivity, where it is carried; behind the filter for a cascade."""
        if not self.sensitive:
            return None
        if numbers.bank is not None:  # which filters them itself
            return Sensitivity(
                start.sensitivity(len(neuron.state)), None, start.like.new_zeros(0, *start.like.shape), True
            )
        filter = numbers.filter if self.normalized else None
        level = start.level(LEVEL, (0 if filter is None else filter.size, *start.driven))
        return Sensitivity(start.sensitivity(len(neuron.state)), filter, level, history)

    def advance(self, old: Traces, window: Window) -> Traces:
        """Return the traces after a window from those before it; large ones are changed in place."""
        return Traces()

    def large(self, traces: Traces) -> list[Tensor]:
        """Return the tensors that `advance` changes in place."""
        return [x for row in traces.filtered for x in row]

    def contract(
        self, traces: Traces, bar: Tensor, synapses: Sequence[Synapse], size: int
    ) -> list[list[tuple[Tensor, ...]]]:
        """Return the terms of the weights' gradients from cotangents of the carried rows, `[rows, B, *unit]`.

        For each synapse there are terms, and each has a gradient for each weight.
        """
        offset = size * self.copies
        found: list[list[tuple[Tensor, ...]]] = []
        for i, synapse in enumerate(synapses):
            filtered = traces.filtered[i] if i < len(traces.filtered) else []
            found.append([synapse.contract(bar[offset + k], trace) for k, trace in enumerate(filtered)])
        return found

    def contract_neuron(self, traces: Traces, name: str, bar: Tensor) -> Tensor | None:
        """Return the gradient of a bias or a neuron parameter per unit, `[B, *unit]`; None where nothing is carried."""
        return contract_parameter(traces, name, bar)

    def close(self, start: Start, window: Window, outputs: Outputs, *, silent: bool, last: bool) -> Closed:
        """Return how a window is credited, and what it leaves to the next.

        `silent` says that the window has no event in it, `last` that its last step is the only one.
        """
        gain, filter = outputs.sensitivity if self.sensitive else None, window.numbers.filter
        if filter is None or not (self.normalized or window.numbers.hops):
            return Closed(None if silent else WindowCredit(self, window, gain), start.traces, window)
        size = (filter.size, start.like.shape[0])
        bank, outer = window.numbers.bank, window.numbers.outputs
        shown = filter if bank is None else bank.ahead(outer)  # a hop's norm is that of the currents that it brings
        n, response = ones_through(shown, start.level(RESPONSE, size), window.steps, last=last)
        if not self.normalized:
            n[:outer] = 1
        elif bank is not None and self.filter is not None:  # what crosses the start is as much as what comes inside
            n[:outer] = n[inside_of(self.filter.ways)]
        n = n.reshape(*n.shape, *[1] * len(window.unit))
        past = Traces() if start.traces is None else start.traces
        carried = {RESPONSE: response}
        if gain is not None and bank is not None:
            shared = n if start.currents == 1 else n.unsqueeze(n.dim() - len(window.unit))
            gain, level = bank.forward(gain, start.level(LEVEL, (filter.size, *start.driven)))
            carried[LEVEL], n = level, torch.where(n == 0, torch.ones_like(n), n)
            gain = gain / torch.where(shared == 0, torch.ones_like(shared), shared)
            if self.filter is not None:
                gain[:outer] = gain[inside_of(self.filter.ways)]
        elif gain is not None and outputs.level is not None:
            carried[LEVEL] = outputs.level
        traces = replace(past, other=past.other | carried)
        return Closed(None if silent else WindowCredit(self, window, gain, n), traces, window)


@dataclass(frozen=True)
class WindowCredit(Credit):
    r"""Credit by the reverse pass of the window, and below by a factor at each step.

    .. math:: \Delta W = \sum_t q_t \otimes x_t + \langle \lambda_0, E_0 \rangle, \qquad
        \text{below: } \mathrm{synapse}^\top (c_t \odot L_t)

    Args:
        trace: the layer's trace.
        window: the window.
        gain: the outputs' sensitivity, `[T, B, (C,) *unit]` or of the last step alone; None where it is not carried.
        norm: the filter's response to ones at each step, `[T, B, ...]`, by which cotangents are divided; None for one.
            Where there are several filters, these two and all cotangents have them in front, `[G, ...]`, and the gain
            is divided by the norm already.
    """

    trace: Trace
    window: Window
    gain: Tensor | None
    norm: Tensor | None = None

    @property
    def filter(self) -> OutputFilter | None:
        """The filters above the layer; None for none."""
        return self.trace.filter

    @property
    def ways(self) -> list[Way]:
        """The ways along which signals go below: those of its filters, or one where all credit is autograd's own."""
        filter = None if self.trace.window_credit else self.filter
        return hopping((NO_WAY,), 0) if filter is None else hopping(filter.ways, filter.hops)

    def pull(self, z_bar: Tensor, raw: Tensor | None, carry: Tensor, *, below: bool) -> Pulled:
        """Return what cotangents give; see `Credit`."""
        trace, w = self.trace, self.window
        filter, bank = w.numbers.filter, w.numbers.bank
        if bank is not None:
            z_bar = hopped(w, self.gain, z_bar if w.numbers.outputs > 1 else z_bar.unsqueeze(0))
        cotangents = z_bar
        if self.norm is not None:
            z_bar = into_pool(torch.div, z_bar.shape, z_bar, last_of(self.norm, z_bar, bank is not None))
        if bank is None:
            cotangents = z_bar  # the norm divides the gain through them
        size, copies = w.size, trace.copies
        above = 0 if filter is None else filter.size
        offset = size * copies
        spent, level = None, None if filter is None else carry[offset : offset + above]
        if bank is not None and level is not None:
            z_bar, spent = bank.reverse(z_bar, level, w.steps)
            filter, level, raw = None, None, None if raw is None else padded(raw, w.steps)
        fed = carry[-1] if trace.fed and w.scan.recurrent is not None else None
        instant = below and trace.input == "psi" and bank is None
        pull = Pull(trace.linked, None, w.learned, instant)
        own = w.tape.reverse(Cotangents(z_bar, carry[offset - size : offset], raw, filter, level, fed), pull)
        weights = self.weights(own, Cotangents(z_bar, carry[:size], raw, filter, level, fed))
        spent = own.level if spent is None else spent
        back = trace.linked or spent is not None or fed is not None
        start = torch.zeros_like(carry) if back else carry.new_zeros(()).expand_as(carry)
        if trace.linked:
            start[offset - size : offset] = w.masked(own.s)
            if copies > 1:
                start[:size] = w.masked(weights.s)
        if spent is not None:
            start[offset : offset + above] = w.masked(spent)
        if own.fed is not None and fed is not None:
            start[-1] = w.masked(own.fed)
        neuron: dict[str, Tensor | None] = dict.fromkeys(w.biases, own.current)
        neuron |= own.parameters
        return Pulled(weight_grads(w.afferents, weights.current), neuron, start, self._below(own, cotangents, below))

    def weights(self, own: Gradients, cotangents: Cotangents) -> Gradients:
        """Return the gradients that credit the weights: the neuron's own, or those of the trace's own blocks."""
        if self.trace.copies == 1:
            return own
        return self.window.tape.reverse(cotangents, Pull(self.trace.linked, self.window.numbers.constant))

    def whole(self, start: Start) -> Credit:
        """Return the same for credit that has come past the layers above too; see `Credit`."""
        filter, w = None if self.trace.filter is None else self.trace.filter.whole, self.window
        if filter is None or filter is self.trace.filter:
            return self
        trace, neuron = replace(self.trace, filter=filter), w.scan.neuron
        with torch.no_grad():
            numbers = trace.numbers(neuron, w.like)
            save = Save(sensitivity=trace.sensitivity(neuron, numbers, start, history=True))
            outputs = w.backend.forward(replace(w.scan, out=None), save)
            found = trace.close(start, replace(w, numbers=numbers), outputs, silent=False, last=False).credit
        return self if found is None else found

    def _below(self, own: Gradients, z_bar: Tensor, below: bool) -> Tensor | None:
        if not below:
            return None
        w = self.window
        if self.trace.window_credit:
            return own.current.unsqueeze(0) if w.numbers.bank is not None else own.current
        several = w.numbers.bank is not None
        if self.gain is None or (self.trace.input == "psi" and not several):
            return own.below
        if self.trace.input == "psi":  # of what came from outside, where hops alone have filters
            direct = Cotangents(z_bar[0], torch.zeros_like(own.s))
            return w.tape.reverse(direct, Pull(linked=False)).current[-z_bar.shape[1] :].unsqueeze(0)
        if z_bar.dim() < self.gain.dim():  # a unit's cotangent is one for each of its currents
            z_bar = z_bar.unsqueeze(3 if several else 2)
        return last_of(self.gain, z_bar, several) * z_bar


def weight_grads(afferents: Sequence[Afferent], q: Tensor) -> list[Tensor | None]:
    """Return the weights' gradients from the currents' cotangents, `[T, B, (C,) *unit]`, synapse by synapse."""
    grads: list[Tensor | None] = []
    for afferent in afferents:
        if afferent.traced:
            grads += afferent.weight_grad(q.reshape(-1, *q.shape[2:]))
        else:
            grads += [None] * len(afferent.synapse.weights())
    return grads
