"""The seam: the one place where what a layer carries meets autograd."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracetorch.synapses import Synapse
from tracetorch.traces.backward import require_first_derivative, sum_to
from tracetorch.traces.plan import Plan
from tracetorch.traces.window import Traces

MOVED_ON = (
    "backward came after the layer's traces moved on: the layer ran again before this window's backward. Call "
    "loss.backward() before the next step, or give the steps together to tt.scan; rules with one trace per input "
    "(ottt, trace) allow several forwards before one backward"
)


@dataclass(frozen=True)
class Seam:
    """Hold what the attached state's backward contracts its cotangents with.

    Args:
        plan: the layer's plan.
        traces: what is carried.
        synapses: the layer's synapses, one for each row of `traces.weight`.
        names: names of biases and neuron parameters, in the order in which they are attached.
        size: S, the number of states.
        counted: whether the last row is the spike count.
    """

    plan: Plan
    traces: Traces
    synapses: tuple[Synapse, ...]
    names: tuple[str, ...]
    size: int
    counted: bool

    @property
    def large(self) -> list[Tensor]:
        """The traces that are advanced in place."""
        rows = [x for row in self.traces.filtered for x in row]
        if self.plan.storage == "full":
            rows += [x for row in self.traces.weight for x in row]
        return rows


class _Attach(torch.autograd.Function):
    """Pass the carried values on; backwards, contract their cotangents with the traces."""

    @staticmethod
    def forward(ctx: Any, seam: Seam, values: Tensor, *parameters: Tensor) -> Tensor:
        ctx.seam = seam
        ctx.shapes = [p.shape for p in parameters]
        ctx.versions = [] if torch.compiler.is_compiling() else [x._version for x in seam.large]
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        require_first_derivative()
        seam: Seam = ctx.seam
        if ctx.versions and [x._version for x in seam.large] != ctx.versions:
            raise RuntimeError(MOVED_ON)
        grads = weight_grads(seam, bar)
        for name in seam.names:
            grads.append(_neuron_grad(seam, name, bar, ctx.shapes[len(grads)]))
        return (None, bar if ctx.needs_input_grad[1] else None, *grads)


def weight_grads(seam: Seam, bar: Tensor) -> list[Tensor | None]:
    """Return the weights' gradients from cotangents of the carried rows, `[rows, B, *unit]`."""
    size = seam.size
    grads: list[Tensor | None] = []
    for i, synapse in enumerate(seam.synapses):
        weight = seam.traces.weight[i] if i < len(seam.traces.weight) else []
        filtered = seam.traces.filtered[i] if i < len(seam.traces.filtered) else []
        found: list[tuple[Tensor, ...]] = []
        for state, trace in enumerate(weight):
            if seam.plan.storage == "full":
                found.append(synapse.contract(bar[state], trace))
            else:
                found.append(synapse.weight_grad(trace, bar[state]))
        offset = size * (2 if seam.plan.approximate else 1)
        found += [synapse.contract(bar[offset + k], trace) for k, trace in enumerate(filtered)]
        if found:
            grads += [sum(parts[1:], parts[0]) for parts in zip(*found, strict=True)]
        else:
            grads += [None] * len(synapse.weights())
    return grads


def _neuron_grad(seam: Seam, name: str, bar: Tensor, shape: torch.Size) -> Tensor | None:
    rows = seam.traces.neuron.get(name)
    if not rows:
        return None
    offset = seam.size if seam.plan.approximate else 0
    total = sum((bar[offset + k] * row for k, row in enumerate(rows)), torch.zeros_like(rows[0]))
    return sum_to(total, bar.new_empty(shape))


def attach(seam: Seam, values: Tensor, parameters: list[Tensor]) -> Tensor:
    r"""Attach carried values to the traces that account for them.

    Forwards this is the identity. Backwards, a cotangent `lambda` of the carried state gives the weights

    .. math:: \Delta W = \langle \lambda, E \rangle

    and likewise biases and neuron parameters.

    Args:
        seam: what to contract with.
        values: carried rows, `[rows, B, *unit]`: the states (twice, first for the weights, where the presynaptic trace
            has blocks of its own), then the filters.
        parameters: the weights of all synapses, then biases and neuron parameters in the order of `seam.names`.

    Returns:
        The values, attached.
    """
    out: Tensor = _Attach.apply(seam, values, *parameters)
    return out
