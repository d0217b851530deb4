"""A neuron's Jacobian blocks by their definition: unit by unit, by `torch.func`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

from tracetorch.neurons import Neuron


@dataclass(frozen=True)
class UnitBlocks:
    """Jacobian blocks of one or more steps of a neuron, per sample and unit.

    Args:
        A: `ds_t / ds_{t-1}`, `[..., S, S]`.
        B: `ds_t / dI_t`, `[..., S]`.
        D: `dz_t / ds_{t-1}`, `[..., S]`.
        psi: `dz_t / dI_t`, `[...]`.
        P: `ds_t / dphi` of each raw parameter, by name, `[..., S]`.
        Q: `dz_t / dphi` of each raw parameter, by name, `[...]`.

    Example:
        >>> import torch, tracetorch as tt
        >>> blocks = tt.testing.unit_blocks(tt.LIF(beta=0.9), (torch.zeros(1, 4),), torch.ones(1, 4))
        >>> blocks.B.shape, blocks.psi.shape
        (torch.Size([1, 4, 1]), torch.Size([1, 4]))
    """

    A: Tensor
    B: Tensor
    D: Tensor
    psi: Tensor
    P: Mapping[str, Tensor]
    Q: Mapping[str, Tensor]


def unit_blocks(neuron: Neuron, s: Sequence[Tensor], current: Tensor) -> UnitBlocks:
    """Take a neuron's Jacobian blocks unit by unit: every unit is its own neuron with scalar parameters.

    Nothing here supposes that the step is element-wise, and nothing is shared with how rules take their blocks.

    Args:
        neuron: the neuron.
        s: states and counters before the steps, each `[..., *unit]`.
        current: input currents, `[..., *unit]`.

    Returns:
        The blocks, each with the shape of `current` in front, by the raw parameters' own names.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import unit_blocks
        >>> blocks = unit_blocks(tt.LI(beta=0.9), (torch.zeros(1, 4),), torch.ones(1, 4))
        >>> blocks.A.shape, round(float(blocks.A[0, 0, 0, 0]), 3)
        (torch.Size([1, 4, 1, 1]), 0.9)
    """
    size, shape = len(neuron.state), current.shape
    named = {n: p.detach() for n, p in neuron.named_parameters()}
    fixed = {n: b.detach() for n, b in neuron.named_buffers()}
    flat = [t.detach().expand(shape).reshape(-1) for t in (*s, current, *named.values(), *fixed.values())]
    counted = len(s) - size

    def one(states: Tensor, drive: Tensor, values: dict[str, Tensor], rest: tuple[Tensor, ...]) -> Tensor:
        counters, buffers = rest[:counted], dict(zip(fixed, rest[counted:], strict=True))
        state = neuron.pack((*states.unbind(0), *counters))
        after, z = functional_call(neuron, {**values, **buffers}, (state, drive))
        return torch.stack([*after[:size], z])

    states = torch.stack(flat[:size], -1)
    counters, drive, values = flat[size : len(s)], flat[len(s)], flat[len(s) + 1 :]
    params = dict(zip(named, values[: len(named)], strict=True))
    rest = (*counters, *values[len(named) :])
    by_s, by_i, by_phi = vmap(jacrev(one, argnums=(0, 1, 2)))(states, drive, params, rest)
    by_s = by_s.reshape(*shape, size + 1, size)
    by_i = by_i.reshape(*shape, size + 1)
    phi = {n: g.reshape(*shape, size + 1) for n, g in by_phi.items()}
    return UnitBlocks(
        A=by_s[..., :size, :],
        B=by_i[..., :size],
        D=by_s[..., size, :],
        psi=by_i[..., size],
        P={n: g[..., :size] for n, g in phi.items()},
        Q={n: g[..., size] for n, g in phi.items()},
    )
