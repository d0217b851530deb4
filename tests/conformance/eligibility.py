"""Eligibility by its definition: a synapse's features by `torch.func`, and eligibilities one step after the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from tracetorch.testing.eligibility import UnitBlocks


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
