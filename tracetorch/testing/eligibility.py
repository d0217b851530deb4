"""Eligibility by its definition: per-unit Jacobians by `torch.func`, one step after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
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


def features(synapse: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return the Jacobian of a synapse's current by each parameter, `[N, units, weights]`, at inputs `[N, *in]`."""
    values = {n: p.detach() for n, p in synapse.named_parameters()}

    def one(params: dict[str, Tensor], sample: Tensor) -> Tensor:
        current: Tensor = functional_call(synapse, params, (sample.unsqueeze(0),))
        return current.reshape(-1)

    found = vmap(jacrev(one), in_dims=(None, 0))(values, x.detach())
    return {n: j.reshape(j.shape[0], j.shape[1], -1) for n, j in found.items()}


def step_eligibility(E: Tensor, blocks: UnitBlocks, J: Tensor, t: int) -> tuple[Tensor, Tensor]:
    r"""Advance a full eligibility, `[B, units, S, weights]`, by step t; return `e_t`, `[B, units, weights]`, and it.

    .. math:: e_t = D_t E_{t-1} + \psi_t J_t, \qquad E_t = A_t E_{t-1} + B_t J_t

    The blocks are those of all steps, `[T, B, *unit, ...]`, and J is `dI_t / dW`, `[B, units, weights]`.
    """
    batch, units, size, _ = E.shape
    A = blocks.A[t].reshape(batch, units, size, size)
    B = blocks.B[t].reshape(batch, units, size)
    D = blocks.D[t].reshape(batch, units, size)
    psi = blocks.psi[t].reshape(batch, units, 1)
    e = torch.einsum("bus,busk->buk", D, E) + psi * J
    return e, torch.einsum("burs,busk->burk", A, E) + B.unsqueeze(-1) * J.unsqueeze(2)


def step_parameter_eligibility(E: Tensor, blocks: UnitBlocks, name: str, t: int) -> tuple[Tensor, Tensor]:
    r"""Advance the eligibility of a neuron parameter, `[B, *unit, S]`, by step t; return `e_t`, `[B, *unit]`, and it.

    .. math:: e^\varphi_t = D_t E^\varphi_{t-1} + Q_t, \qquad E^\varphi_t = A_t E^\varphi_{t-1} + P_t
    """
    e = (blocks.D[t] * E).sum(-1) + blocks.Q[name][t]
    return e, torch.einsum("...rs,...s->...r", blocks.A[t], E) + blocks.P[name][t]
