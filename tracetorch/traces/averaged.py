r"""The averaged trace: the input's average times the sensitivity's.

Definition, with the sensitivity g of the output to a constant current:

.. math:: \bar x_t = \frac{1-a}{1-a^n} \sum_k a^{t-k} x_k, \qquad
    \bar h_t = \frac{1-q}{1-q^n} \sum_k q^{t-k} g_k, \qquad
    \Delta W = \sum_t (\bar h_t \odot L_t) \otimes \bar x_t

Where every step is an event, the same sum is formed with a filter that goes back in time, so that no history of
averaged inputs is stored:

.. math:: \Delta W = \sum_s \Big(\sum_{t \ge s} a^{t-s}\, \bar h_t \odot L_t / w_t\Big) \otimes x_s
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tracetorch.backends import Cotangents, Filter, Gradients, Outputs, Pull, Save, Sensitivity
from tracetorch.neurons import Neuron, Readout
from tracetorch.traces.averages import Averages, Buckets, average, begin, powers
from tracetorch.traces.base import Context, InputCredit, Trace, WeightCredit
from tracetorch.traces.eligibility import Full
from tracetorch.traces.parameters import advance_parameters
from tracetorch.traces.passing import Closed, Credit, Pulled, Start
from tracetorch.traces.window import Afferent, Numbers, Traces, Window


@dataclass(frozen=True)
class Factor(WeightCredit):
    r"""Average input and sensitivity apart: :math:`\bar h \otimes \bar x`.

    Args:
        uniform: weigh all steps since the reset alike, instead of with a decay.
        decay: `q`, the averages' decay on the output's side, per step; None takes the readout's.
        buckets: number of decays with which inputs are averaged where a layer's units have their own decays.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.rate().weight.uniform
        True
    """

    uniform: bool = False
    decay: float | None = None
    buckets: int = 4
    inputs: ClassVar[tuple[InputCredit, ...]] = ("trace",)
    storage = "one average per input"

    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer; a readout's own is exact, and sends its sensitivity below."""
        context.require_one_current()
        if isinstance(context.neuron, Readout):
            return Full().trace(Context(context.rule, context.neuron, context.unit, "gain"))
        return Averaged("trace", context.filter, self.uniform, self.buckets, context.sequence)


@dataclass(frozen=True)
class Averaged(Trace):
    """Averages of inputs and sensitivities.

    `filter` says where the decay of the sensitivities' average comes from, `uniform` that they weigh all steps alike,
    `whole` that one scan is the whole sequence; inputs are averaged with a number of decays, `buckets`.
    """

    uniform: bool = False
    buckets: int = 4
    whole: bool = False

    @property
    def sequence(self) -> bool:
        """Whether one scan is the whole sequence."""
        return self.whole

    counts = False  # a rate term reads the averages
    sensitive = True

    def carries(self, *, last: bool) -> bool:
        """Return whether a window without an event costs nothing but what is carried forward."""
        return not self.whole and not last

    def taped(self, *, silent: bool) -> bool:
        """Return False: the averages are formed in the forward scan."""
        return False

    def reads(self, *, silent: bool, last: bool) -> bool:
        """Return whether a window's inputs are read after its scan: where every step of it is an event."""
        return not (silent or last or self.whole)

    def numbers(self, neuron: Neuron, like: Tensor) -> Numbers:
        """Return the trace's numbers now."""
        own, one = neuron.decay, like.new_ones(())
        above = Filter.leaky(one) if self.filter is None or self.uniform else self.filter.at(neuron, like)
        return Numbers(above, None, one if self.uniform or own is None else own.detach())

    def save(self, neuron: Neuron, numbers: Numbers, start: Start, steps: int, *, silent: bool, last: bool) -> Save:
        """Return what a forward scan is asked to save."""
        buckets = self.begin(numbers, start)
        decays = buckets.decays.to(start.like)
        if buckets.sums is None:
            level = start.like.new_zeros(()).expand(1, *start.like.shape)
            past = start.x.new_zeros(()).expand(decays.shape[0], *start.x.shape)
        else:
            level = buckets.sums.h.unsqueeze(0)
            past = buckets.sums.x[0] * (decays**steps).reshape(-1, *[1] * (buckets.sums.x[0].dim() - 1))
        sigma = start.sensitivity(len(neuron.state))
        return Save(
            True, Sensitivity(sigma, numbers.filter, level, not (last or silent)), (powers(decays, steps), past)
        )

    def begin(self, numbers: Numbers, start: Start) -> Buckets:
        """Return with which decays a window's inputs are averaged, and from where."""
        return begin(start, start.like.new_ones(()) if numbers.decays is None else numbers.decays, self.buckets)

    def advance(self, old: Traces, window: Window) -> Traces:
        """Return the traces after a window: the neuron parameters' alone, since the averages are there already."""
        rows = window.rows(Pull(parameters=window.learned)) if window.learned else []
        return Traces(neuron=advance_parameters(old.neuron, window, rows, window.learned), other=old.other)

    def close(self, start: Start, window: Window, outputs: Outputs, *, silent: bool, last: bool) -> Closed:
        """Return how a window is credited, and what it leaves to the next."""
        h, filter = outputs.sensitivity, window.numbers.filter
        if h is None or filter is None:
            raise ValueError("an averaged trace needs the sensitivities of its scan")
        averages = average(self.begin(window.numbers, start), window, h, filter.a[0, 0])
        past = {} if start.traces is None else start.traces.neuron
        traces = Traces(neuron=past, other=averages.sums().tensors())
        credit = None if silent else AveragedCredit(self, window, averages)
        return Closed(credit, traces, window if window.learned else None)


@dataclass(frozen=True)
class AveragedCredit(Credit):
    """Credit by averages at a window's events."""

    trace: Averaged
    window: Window
    averages: Averages

    def pull(self, z_bar: Tensor, raw: Tensor | None, carry: Tensor, *, below: bool) -> Pulled:
        """Return what cotangents give; see `Credit`."""
        w, events = self.window, z_bar
        if events.shape[0] == 1 or self.trace.whole:
            h = self.averages.sensitivity()
            sent = h * events
            if self.trace.whole:
                events = events.sum(0, keepdim=True)
            signal = h * events if self.trace.whole else sent
            weights = self._last(signal[0])
        else:
            weights, signal = self._every(events, sent=below or bool(w.biases))
            sent = signal
        neuron: dict[str, Tensor | None] = dict.fromkeys(w.biases, signal)
        start = carry.new_zeros(()).expand_as(carry)
        if w.learned:
            start = torch.zeros_like(carry)
            own = self._neuron(events, carry)
            neuron |= own.parameters
            start[: w.size] = w.masked(own.s)
            if own.level is not None:
                start[w.size : w.size + own.level.shape[0]] = w.masked(own.level)
        return Pulled(weights, neuron, start, sent if below else None)

    def _neuron(self, events: Tensor, carry: Tensor) -> Gradients:
        """Return the neuron parameters' gradients: exact, with the averages' weights as those of the events."""
        w = self.window
        weight = self.averages.h_weight[-events.shape[0] :]
        weight = weight.reshape(*weight.shape, *[1] * len(w.unit))
        level = carry[w.size : w.size + 1]
        cotangents = Cotangents(events / weight, carry[: w.size], None, w.numbers.filter, level)
        return w.tape.reverse(cotangents, Pull(parameters=w.learned))

    def _summed(self, afferent: Afferent, rows: Sequence[Tensor], signal: Tensor) -> list[Tensor]:
        """Return the weights' gradients from features by bucket, `[G, B, *features]`, and a signal per unit."""
        mask = self.averages.begin.mask
        total: list[Tensor] = []
        for g, features in enumerate(rows):
            found = afferent.synapse.weight_grad(features, signal if mask is None else signal * mask[g])
            total = list(found) if not total else [a + b for a, b in zip(total, found, strict=True)]
        return total

    def _last(self, signal: Tensor) -> list[Tensor | None]:
        """Return the weights' gradients where there is one event, at the window's end, from the signal `[B, *unit]`."""
        grads: list[Tensor | None] = []
        for i, afferent in enumerate(self.window.afferents):
            if afferent.traced:
                grads += self._summed(afferent, tuple(self.averages.features(i)), signal)
            else:
                grads += [None] * len(afferent.synapse.weights())
        return grads

    def _every(self, events: Tensor, *, sent: bool) -> tuple[list[Tensor | None], Tensor]:
        """Return the weights' gradients where every step is an event, `[T, B, *unit]`, and the signals per unit."""
        w, a = self.window, self.averages
        size = math.prod(w.unit)
        flat, bucket = (*events.shape[:2], size), a.begin.bucket.reshape(-1)
        decays = a.begin.decays.to(events)
        units = decays[bucket] if bucket.numel() else decays.expand(size)
        filtered, leaving, credit = w.backend.credit_back(
            events.reshape(flat), (a.h.reshape(flat), a.h_weight), a.x_weight, bucket, units, sent=sent
        )
        grads: list[Tensor | None] = []
        for i, afferent in enumerate(w.afferents):
            if not afferent.traced:
                grads += [None] * len(afferent.synapse.weights())
                continue
            found = list(afferent.weight_grad(filtered.reshape(-1, *w.unit)))
            if a.begin.sums is not None:
                past = self._summed(afferent, tuple(a.begin.sums.x[i]), leaving.reshape(w.like.shape))
                found = [x + y for x, y in zip(found, past, strict=True)]
            grads += found
        return grads, credit.reshape(events.shape) if sent else credit
