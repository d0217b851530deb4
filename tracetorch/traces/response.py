r"""The linear response of what is above a layer, and its response to a constant input, by which it is normalized.

A cotangent that reaches a layer's output at step t is read as one on :math:`F(z)_t / n_t`, where F is the chain of mean
responses above the layer and :math:`n_t = F(1)_t` its response to ones since the reset. Where the units of a layer
respond in different ways they stand in groups, each with the mean response of its units.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from tracetorch.backends import Filter
from tracetorch.neurons import Blocks, Neuron, tensor_values, unit_shape
from tracetorch.traces.averages import widened
from tracetorch.traces.bank import Bank

PROBES = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Currents, in units of the threshold, among which the one of the largest surrogate derivative is probed."""
SAME = 1e-7
"""Difference below which two units respond alike."""


def mean_responses(
    neuron: Neuron, like: Tensor, measured: Tensor | None = None, group: Tensor | None = None
) -> list[Filter]:
    r"""Return how a neuron's output responds to its past currents, as a share of how it responds to the present one.

    .. math:: a = \bar A, \quad b = \bar B, \quad d = \bar D / \bar\psi, \quad p = 1

    The blocks are those that were measured, or before that, those of a neuron without a spike in its past. Where the
    states pass on alike whatever the spikes, as in a LIF with a soft detached reset, they are exact. Where units have
    their own values, it is their mean; in groups, the means of the units of each, moved by what was measured of all.

    Args:
        neuron: the neuron.
        like: a tensor whose dtype and device the filters have.
        measured: mean blocks of the layer at work, `[S S + 2 S + 1]`; None before they are there.
        group: the group of each unit, in a shape that broadcasts to the units'; None for one of all.

    Returns:
        The filter of each group.
    """
    probed = _probed(neuron, like)
    units = probed[1].numel()
    shares = like.new_ones(1, units) if group is None else one_hot(group.flatten()).to(like).t()
    rest = _at_rest(neuron, probed, shares / shares.sum(1, keepdim=True), like)
    size, one = len(neuron.state), like.new_ones(())
    if measured is not None and not neuron.is_constant(shared=False):
        a, b, d, psi = measured.to(like).split([size * size, size, size, 1])
        if bool(psi.abs() > 0):
            moved = torch.cat([a, b, d / psi])
            rest = moved + rest - (shares.sum(1, keepdim=True) / shares.sum() * rest).sum(0)
    rows = (row.split([size * size, size, size]) for row in rest)
    return [Filter(a.reshape(size, size), b, d, one) for a, b, d in rows]


def _probed(neuron: Neuron, like: Tensor) -> tuple[Blocks, torch.Size]:
    """Return the blocks of the units at zero state and the currents of `PROBES`, and the shape of its values."""
    values = tensor_values(neuron)
    unit = unit_shape(values.values())
    threshold = values.get("threshold", like.new_ones(1)).detach().to(like)
    zero = like.new_zeros(len(PROBES), 1, *unit)
    currents = zero + torch.tensor(PROBES).to(like).reshape(-1, 1, *[1] * len(unit)) * threshold
    return neuron.blocks(tuple(zero for _ in (*neuron.state, *neuron.counters)), currents, {}), unit


def _at_rest(neuron: Neuron, probed: tuple[Blocks, torch.Size], shares: Tensor, like: Tensor) -> Tensor:
    """Return the response of each group, `[k, S S + 2 S]`, for weights of the units in the groups' means, `[k, U]`."""
    blocks, unit = probed

    def mean(entry: Tensor | None) -> Tensor:
        """Return an entry's mean over the units of each group, at each probe, `[k, PROBES]`."""
        if entry is None:
            return like.new_zeros(shares.shape[0], len(PROBES))
        return shares @ entry.detach().to(like).expand(len(PROBES), 1, *unit).flatten(1).t()

    psi = mean(blocks.psi)
    best = psi.abs().argmax(1, keepdim=True)
    peak = psi.gather(1, best)
    d = [mean(x).gather(1, best) / torch.where(peak == 0, torch.ones_like(peak), peak) for x in blocks.D]
    constant = neuron.constant()
    if constant is None:
        constant = neuron.constant(detach_reset=True)
    if constant is None:
        first = [mean(x)[:, :1] for x in (*(x for row in blocks.A for x in row), *blocks.B)]
    else:
        first = [torch.cat([x.detach().to(like).flatten() for x in constant]).expand(shares.shape[0], -1)]
    return torch.cat([*first, *d], 1)


def groups_of(neuron: Neuron, most: int) -> Tensor | None:
    """Return in which group of like responses each unit of a neuron stands; None where all are alike or `most` is 1.

    Units of one response form a group; where that gives too many, the units are grouped by their time constants, in
    intervals of one ratio.
    """
    wide = [v for v in tensor_values(neuron).values() if v.numel() > 1]
    if most == 1 or not wide or len(neuron.currents) > 1 or neuron.is_constant(detach_reset=True):
        return None
    like = wide[0].detach().double()
    with torch.no_grad():
        probed = _probed(neuron, like)
        unit = probed[1]
        each = _at_rest(neuron, probed, torch.eye(unit.numel(), dtype=like.dtype, device=like.device), like)
    distinct, index = (each / SAME).round().unique(dim=0, return_inverse=True)
    if len(distinct) > most:
        size = len(neuron.state)
        radius = torch.linalg.eigvals(each[:, : size * size].reshape(-1, size, size)).abs().amax(1)
        time = -1 / radius.clamp(1e-6, 1 - 1e-6).log()
        least, ratio = time.min(), time.max() / time.min()
        share = index / len(distinct) if ratio < 1 + 1e-9 else (time / least).log() / ratio.log()
        index = (share * most).long().clamp(max=most - 1).unique(return_inverse=True)[1]
    return None if int(index.max()) == 0 else index.reshape(unit)


def ones_through(filter: Filter | Bank, level: Tensor, steps: int, *, last: bool = False) -> tuple[Tensor, Tensor]:
    r"""Return what ones give through a filter, `[T, B]`, or a bank, `[G, T, B]`, and the states after them, `[M, B]`.

    .. math:: (f_t, 1) = \begin{pmatrix} a & b \\ 0 & 1 \end{pmatrix}^{t} (f_0, 1), \qquad n_t = d \cdot f_{t-1} + p

    With `last` it is the output of the last step alone.
    """
    dtype, size = level.dtype, level.shape[0]
    level = level if steps == 1 else widened(level)
    a, b, d, p = (x.to(level) for x in (filter.a, filter.b, filter.d, filter.p))
    step = torch.eye(size + 1, dtype=a.dtype, device=a.device)
    step[:size, :size], step[:size, size] = a, b
    level = torch.cat([level, level.new_ones(1, level.shape[1])])
    if steps == 1 or last:
        before = torch.linalg.matrix_power(step, steps - 1) @ level
        before, after = before.unsqueeze(0), step @ before
    else:
        powers = torch.eye(size + 1, dtype=a.dtype, device=a.device).unsqueeze(0)
        while powers.shape[0] < steps + 1:
            powers, step = torch.cat([powers, powers @ step]), step @ step
        levels = powers[: steps + 1] @ level
        before, after = levels[:-1], levels[-1]
    before, after = before[:, :size], after[:size]
    if d.dim() == 1:
        out = before.transpose(1, 2) @ d + p
    else:
        out = torch.einsum("gm,tmb->gtb", d, before) + p.reshape(-1, 1, 1)
    return out.to(dtype), after.to(dtype)
