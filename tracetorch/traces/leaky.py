r"""Leaky input traces: each input has a trace with one decay, whatever the memory of the neurons is.

Definition, with factors :math:`h` and :math:`u` per unit that a rule forms of the neuron at work:

.. math:: \hat x_t = \lambda \hat x_{t-1} + x_t, \quad \Delta W = \sum_t L_t (h_t \otimes \hat x_t + u_t \otimes x_t)

Inside a window the trace is a leaky filter of the inputs, so that its reverse pass needs no history of traces:

.. math:: q_t = h_t L_t + \lambda q_{t+1}
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tracetorch.backends import Cotangents, Gradients, Outputs
from tracetorch.backends.interface import padded
from tracetorch.backends.torch.recurrences import reverse_sums
from tracetorch.neurons import Neuron, Readout
from tracetorch.traces.base import Context, Trace, WeightCredit, WindowCredit
from tracetorch.traces.eligibility import Full
from tracetorch.traces.passing import Closed, Start, last_of
from tracetorch.traces.presynaptic import Presynaptic
from tracetorch.traces.window import Numbers, Traces, Window


class LeakyCredit(WeightCredit):
    """A weight credit by leaky input traces; a readout's own trace is exact."""

    inputs = ("psi", "gain")

    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer; raise ValueError where it cannot be formed."""
        if len(context.neuron.currents) > 1:
            raise ValueError(f"rule {context.rule!r} cannot trace several currents per unit; tt.rules.drtrl() can")
        return Full().trace(context) if isinstance(context.neuron, Readout) else self.leaky(context)

    @abstractmethod
    def leaky(self, context: Context) -> LeakyInput:
        """Return the trace of a layer that is not a readout."""


@dataclass(frozen=True)
class LeakyInput(Presynaptic):
    """One trace per input with its own decay; biases and neuron parameters have exact ones beside it."""

    approximate: bool = True
    decay: float = field(kw_only=True)
    counts = False  # the cotangents of a spike count are a learning signal like others

    @abstractmethod
    def factors(
        self, start: Start, window: Window, outputs: Outputs
    ) -> tuple[Tensor, Tensor | None, Mapping[str, Tensor]]:
        """Return h and u, `[T, B, *unit]` each or None for zero, and what is carried on to form the next."""

    def numbers(self, neuron: Neuron, like: Tensor) -> Numbers:
        """Return the trace's numbers: those of a leaky filter of the inputs."""
        return Numbers(None, (like.new_tensor([[self.decay]]), like.new_ones(1)))

    def close(self, start: Start, window: Window, outputs: Outputs, *, silent: bool, last: bool) -> Closed:
        """Return how a window is credited, and what it leaves to the next."""
        h, u, carried = self.factors(start, window, outputs)
        past = Traces() if start.traces is None else start.traces
        credit = None if silent else LeakyInputCredit(self, window, outputs.sensitivity, h=h, u=u)
        return Closed(credit, replace(past, other={**past.other, **carried}), window)


@dataclass(frozen=True)
class LeakyInputCredit(WindowCredit):
    """Credit by two factors per unit: one meets the inputs' trace, the other the inputs of the step."""

    trace: LeakyInput
    h: Tensor = field(kw_only=True)
    u: Tensor | None = field(kw_only=True)

    def weights(self, own: Gradients, cotangents: Cotangents) -> Gradients:
        """Return the gradients that credit the weights, by a leaky filter in reverse."""
        z_bar, s, steps = cotangents.z, torch.zeros_like(cotangents.s), self.window.steps
        q, s[0] = reverse_sums(padded(last_of(self.h, z_bar) * z_bar, steps), self.trace.decay, cotangents.s[0])
        return Gradients(q if self.u is None else q + padded(last_of(self.u, z_bar) * z_bar, steps), s)
