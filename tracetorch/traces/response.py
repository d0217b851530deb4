r"""The linear response of what stands above a layer, and its response to a constant input, by which it is normalized.

A cotangent that reaches a layer's output at step t is read as one on :math:`F(z)_t / n_t`, where F is the chain of mean
responses above the layer and :math:`n_t = F(1)_t` its response to ones since the reset.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracetorch.backends import Filter
from tracetorch.neurons import Neuron, generic_blocks

PROBES = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Currents, in units of the threshold, among which the one of the largest surrogate derivative is probed."""


def mean_response(neuron: Neuron, like: Tensor) -> Filter:
    r"""Return how a neuron's output responds to its past currents, as a share of how it responds to the present one.

    .. math:: a = \bar A, \quad b = \bar B, \quad d = \bar D / \bar\psi, \quad p = 1

    The blocks are those of a neuron without a spike in its past, with its reset detached; for a LIF with a soft
    reset, that is the leaky filter of its decay, exactly.

    Args:
        neuron: the neuron, with one value for all units of each of its parameters.
        like: a tensor whose dtype and device the filter has.
    """
    constant = neuron.constant((1,), detach_reset=True)
    threshold = getattr(neuron, "threshold", None)
    scale = like.new_ones(1) if threshold is None else threshold.detach().to(like).reshape(-1)[:1]
    currents = torch.tensor(PROBES, dtype=like.dtype, device=like.device).reshape(-1, 1, 1) * scale
    zero = torch.zeros_like(currents)
    blocks = generic_blocks(neuron, tuple(zero for _ in (*neuron.state, *neuron.counters)), currents, {})

    def column(entry: Tensor | None) -> Tensor:
        return zero.reshape(-1) if entry is None else entry.detach().expand(currents.shape).reshape(-1)

    psi = column(blocks.psi)
    best = psi.abs().argmax()
    one = torch.ones_like(psi[0])
    d = torch.stack([column(x)[best] for x in blocks.D]) / torch.where(psi[best] == 0, one, psi[best])
    if constant is None:
        a = torch.stack([torch.stack([column(x)[0] for x in row]) for row in blocks.A])
        b = torch.stack([column(x)[0] for x in blocks.B])
    else:
        a, b = (x.detach().to(like) for x in constant)
    return Filter(a.to(like), b.to(like), d.to(like), one.to(like))


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
    a, b, d, p = (x.to(level) for x in (filter.a, filter.b, filter.d, filter.p))
    if steps == 1:
        return (d @ level + p).unsqueeze(0), a @ level + b.unsqueeze(1)
    powers, step = torch.eye(b.shape[0], dtype=a.dtype, device=a.device).unsqueeze(0), a
    while powers.shape[0] < steps + 1:
        powers, step = torch.cat([powers, powers @ step]), step @ step
    powers = powers[: steps + 1]
    driven = torch.cat([torch.zeros_like(b).unsqueeze(0), (powers[:-1] @ b).cumsum(0)])
    levels = powers @ level + driven.unsqueeze(-1)
    return levels[:-1].transpose(1, 2) @ d + p, levels[-1]
