"""The spike-timing trace of `tt.rules.s_tllr`: a number per input and one per unit, whatever the neuron's memory is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tracetorch.backends import Cotangents, Gradients, Outputs, Pull
from tracetorch.backends.interface import padded
from tracetorch.backends.torch.recurrences import decayed_sums, reverse_sums
from tracetorch.neurons import Neuron, Readout
from tracetorch.traces.base import Context, Trace, WeightCredit, WindowCredit
from tracetorch.traces.eligibility import Full
from tracetorch.traces.passing import Closed, Start
from tracetorch.traces.presynaptic import Presynaptic
from tracetorch.traces.window import Numbers, Traces, Window


@dataclass(frozen=True)
class Timing(WeightCredit):
    """Trace inputs and surrogate derivatives by the numbers of `tt.rules.s_tllr`; a readout's own trace is exact."""

    lambda_pre: float
    lambda_post: float
    alpha_pre: float = 1.0
    alpha_post: float = -1.0
    inputs = ("psi", "gain")

    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer; raise ValueError where it cannot be formed."""
        if not (0 <= self.lambda_pre <= 1 and 0 <= self.lambda_post <= 1):
            raise ValueError(f"lambda_pre and lambda_post are decays per step in [0, 1], got {self}")
        if len(context.neuron.currents) > 1:
            raise ValueError(f"rule {context.rule!r} cannot trace several currents per unit; tt.rules.drtrl() can")
        exact = isinstance(context.neuron, Readout)
        return Full().trace(context) if exact else SpikeTiming(context.input, approximate=True, timing=self)


@dataclass(frozen=True)
class SpikeTiming(Presynaptic):
    """Traces of inputs and of surrogate derivatives; biases and neuron parameters have exact ones beside them."""

    timing: Timing = field(kw_only=True)
    counts = False  # the cotangents of a spike count are a learning signal like others

    def numbers(self, neuron: Neuron, like: Tensor) -> Numbers:
        """Return the trace's numbers: those of a leaky filter of the inputs."""
        return Numbers(None, (like.new_tensor([[self.timing.lambda_pre]]), like.new_ones(1)))

    def close(self, start: Start, window: Window, outputs: Outputs, *, silent: bool, last: bool) -> Closed:
        """Return how a window is credited, and what it leaves to the next."""
        like, past = window.like, Traces() if start.traces is None else start.traces
        ones = Cotangents(like.new_ones(window.steps, *like.shape), like.new_zeros(window.size, *like.shape))
        psi = window.tape.reverse(ones, Pull(linked=False)).current
        first = start.level("post", (1, *like.shape))
        post = torch.cat([first, decayed_sums(psi, self.timing.lambda_post, first[0])])
        credit = None if silent else TimingCredit(self, window, outputs.sensitivity, post=post[:-1])
        return Closed(credit, replace(past, other=past.other | {"post": post[-1:].clone()}), window)


@dataclass(frozen=True)
class TimingCredit(WindowCredit):
    """Credit by timing, with the trace of surrogate derivatives before each step."""

    trace: SpikeTiming
    post: Tensor = field(kw_only=True)

    def weights(self, own: Gradients, cotangents: Cotangents) -> Gradients:
        """Return the gradients that credit the weights: a leaky filter in reverse, and the acausal term."""
        rule, s = self.trace.timing, torch.zeros_like(cotangents.s)
        causal = rule.alpha_pre * self.window.tape.reverse(cotangents, Pull(linked=False)).current
        q, s[0] = reverse_sums(causal, rule.lambda_pre, cotangents.s[0])
        return Gradients(q + rule.alpha_post * self.post * padded(cotangents.z, self.window.steps), s)
