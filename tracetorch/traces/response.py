r"""The linear response of what stands above a layer, and its response to a constant input, by which it is normalized.

A cotangent that reaches a layer's output at step t is read as one on :math:`F(z)_t / n_t`, where F is the chain of mean
responses above the layer and :math:`n_t = F(1)_t` its response to ones since the reset.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracetorch.backends import Filter
from tracetorch.neurons import Neuron, tensor_values
from tracetorch.traces.averages import widened

PROBES = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Currents, in units of the threshold, among which the one of the largest surrogate derivative is probed."""


def mean_response(neuron: Neuron, like: Tensor, measured: Tensor | None = None) -> Filter:
    r"""Return how a neuron's output responds to its past currents, as a share of how it responds to the present one.

    .. math:: a = \bar A, \quad b = \bar B, \quad d = \bar D / \bar\psi, \quad p = 1

    The blocks are those that were measured, or before that, those of a neuron without a spike in its past. Where the
    states pass on alike whatever the spikes, as in a LIF with a soft detached reset, they are exact. Where units have
    values of their own, it is their mean.

    Args:
        neuron: the neuron.
        like: a tensor whose dtype and device the filter has.
        measured: mean blocks of the layer at work, `[S S + 2 S + 1]`; None before they are there.

    Returns:
        The filter.

    Returns:
        The filter.
    """
    if len(neuron.currents) > 1:
        raise ValueError(f"{type(neuron).__name__} takes several currents per unit: it has no response to one input")
    values = tensor_values(neuron)
    unit = torch.broadcast_shapes((1,), *(v.shape for v in values.values()))
    threshold = values.get("threshold", like.new_ones(1)).detach().to(like)
    zero = like.new_zeros(len(PROBES), 1, *unit)
    currents = zero + torch.tensor(PROBES).to(like).reshape(-1, 1, *[1] * len(unit)) * threshold
    blocks = neuron.blocks(tuple(zero for _ in (*neuron.state, *neuron.counters)), currents, {})

    def mean(entry: Tensor | None) -> Tensor:
        """Return an entry's mean over units at each probe."""
        return like.new_zeros(len(PROBES)) if entry is None else entry.detach().expand(zero.shape).flatten(1).mean(1)

    psi = mean(blocks.psi)
    best = psi.abs().argmax()
    one = like.new_ones(())
    d = torch.stack([mean(x)[best] for x in blocks.D]) / torch.where(psi[best] == 0, one, psi[best])
    constant = neuron.constant()
    if constant is None and measured is not None:
        size = len(neuron.state)
        a, b, d, psi = measured.to(like).split([size * size, size, size, 1])
        if bool(psi.abs() > 0):
            return Filter(a.reshape(size, size), b, d / psi, one)
    if constant is None:
        constant = neuron.constant(detach_reset=True)
    if constant is None:
        a = torch.stack([torch.stack([mean(x)[0] for x in row]) for row in blocks.A])
        b = torch.stack([mean(x)[0] for x in blocks.B])
    else:
        a, b = (x.detach().to(like) for x in constant)
    return Filter(a, b, d, one)


def ones_through(filter: Filter, level: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    r"""Pass ones through a filter, in closed form.

    .. math:: f_t = a^t f_0 + \sum_{k < t} a^k b, \qquad n_t = d \cdot f_{t-1} + p

    Args:
        filter: the filter, of M states.
        level: its states before the window, `[M, B]`.
        steps: T.

    Returns:
        Its outputs, `[T, B]`, and its states after the window, `[M, B]`.
    """
    dtype = level.dtype
    if steps == 1:
        a, b, d, p = (x.to(level) for x in (filter.a, filter.b, filter.d, filter.p))
        return (d @ level + p).unsqueeze(0), a @ level + b.unsqueeze(1)
    level = widened(level)
    a, b, d, p = (x.to(level) for x in (filter.a, filter.b, filter.d, filter.p))
    powers, step = torch.eye(b.shape[0], dtype=a.dtype, device=a.device).unsqueeze(0), a
    while powers.shape[0] < steps + 1:
        powers, step = torch.cat([powers, powers @ step]), step @ step
    powers = powers[: steps + 1]
    driven = torch.cat([torch.zeros_like(b).unsqueeze(0), (powers[:-1] @ b).cumsum(0)])
    levels = powers @ level + driven.unsqueeze(-1)
    return (levels[:-1].transpose(1, 2) @ d + p).to(dtype), levels[-1].to(dtype)
