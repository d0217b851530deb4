r"""The full eligibility: one number per state and weight, exact within a layer.

Definition, with :math:`e_t = \partial z_t / \partial W` and :math:`E_t = \partial s_t / \partial W`:

.. math:: e_t = D_t E_{t-1} + \psi_t \otimes x_t, \qquad E_t = A_t E_{t-1} + B_t \otimes x_t

Over a window of C steps, with the ordered products :math:`\Pi_s = A_C \cdots A_{s+1}`, which are the reverse passes of
unit cotangents:

.. math:: E_C = \Pi_0 E_0 + \sum_s (\Pi_s B_s) \otimes x_s
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.backends import Events, Gradients, Pull
from tracetorch.synapses import Synapse
from tracetorch.traces.base import Context, Trace, WeightCredit
from tracetorch.traces.parameters import advance_parameters, starts
from tracetorch.traces.presynaptic import Presynaptic, replaced, units
from tracetorch.traces.window import Afferent, Traces, Window, per_current


@dataclass(frozen=True)
class Full(WeightCredit):
    r"""Trace each weight: :math:`E \leftarrow A E + B \otimes x`, exact within a layer, always.

    Where A and B are constant the same trace is stored as one per input, which costs less and gives the same numbers.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.drtrl().weight
        Full()
    """

    per_unit = True
    storage = "full"

    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer."""
        if not (context.shared and context.neuron.is_constant()):
            return Eligibility(context.input, context.filter)
        return Presynaptic(context.input, context.filter)


@dataclass(frozen=True)
class Eligibility(Trace):
    """One trace per state and weight."""

    def advance(self, old: Traces, window: Window) -> Traces:
        """Return the traces after a window, in place where they are there already."""
        rows = self.rows_over(window)
        neuron = advance_parameters(old.neuron, window, rows, (*window.biases, *window.learned))
        new = Traces(neuron=neuron, other=old.other)
        for i, afferent in enumerate(window.afferents):
            held = old.weight[i] if i < len(old.weight) else []
            filtered = old.filtered[i] if i < len(old.filtered) else []
            after = _advance(held + filtered, afferent, window, rows) if afferent.traced else []
            new.weight.append(after[: window.size])
            new.filtered.append(after[window.size :])
        return new

    def rows_over(self, window: Window) -> list[Gradients]:
        """Return the reverse passes of unit cotangents of all carried rows after a window."""
        return window.rows(Pull(parameters=window.learned))

    def large(self, traces: Traces) -> list[Tensor]:
        """Return the tensors that `advance` changes in place."""
        return super().large(traces) + [x for row in traces.weight for x in row]

    def contract(
        self, traces: Traces, bar: Tensor, synapses: Sequence[Synapse], size: int
    ) -> list[list[tuple[Tensor, ...]]]:
        """Return the terms of the weights' gradients from cotangents of the carried rows."""
        found = super().contract(traces, bar, synapses, size)
        for i, row in enumerate(traces.weight):
            found[i] = [synapses[i].contract(bar[j], x) for j, x in enumerate(row)] + found[i]
        return found


def _advance(held: list[Tensor], afferent: Afferent, window: Window, rows: Sequence[Gradients]) -> list[Tensor]:
    if afferent.events is not None and len(rows) == 1:
        return [_by_events(held, afferent.events, window, rows[0])]
    synapse, patches, new = afferent.synapse, afferent.patches(), []
    for row in rows:
        total = synapse.outer(units(afferent, row.current), patches)
        for factor, trace in zip(starts(row, window), held, strict=False):
            factor = per_current(factor, 1, len(window.scan.neuron.currents))
            total.addcmul_(synapse.units(factor).unsqueeze(-1), trace)
        new.append(total)
    return replaced(held, new)


def _by_events(held: list[Tensor], events: Events, window: Window, row: Gradients) -> Tensor:
    """Return the one eligibility of a dense synapse, `[B, 1, N, 1, K]`, advanced by the events of its input."""
    batch, units, inputs = *window.like.shape, events.shape[-1]
    trace = held[0] if held else window.like.new_zeros(batch, 1, units, 1, inputs)
    events.advance_full(row.current, window.masked(row.s[0]), trace.view(batch, units, inputs))
    torch.autograd.graph.increment_version(trace)
    return trace
