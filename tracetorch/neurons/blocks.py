"""Jacobian blocks of one neuron step, from torch.func for any neuron that is written as its step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tracetorch.ops.entries import Entry


@dataclass(frozen=True)
class Blocks:
    """Derivatives of `(s_t, z_t) = step(s_{t-1}, I_t; phi)`, element-wise per unit.

    Every entry broadcasts to `[T, B, *unit]`; None is zero.

    Args:
        A: `ds_t / ds_{t-1}`, S rows of S entries.
        B: `ds_t / dI_t`, S entries; of `[T, B, C, *unit]` where a neuron takes several currents, C.
        D: `dz_t / ds_{t-1}`, S entries.
        psi: `dz_t / dI_t`; of `[T, B, C, *unit]` where there are several currents.
        P: `ds_t / dphi` by parameter name, S entries each.
        Q: `dz_t / dphi` by parameter name.
    """

    A: Sequence[Sequence[Entry]]
    B: Sequence[Entry]
    D: Sequence[Entry]
    psi: Entry
    P: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    Q: Mapping[str, Entry] = field(default_factory=dict)


def generic_blocks(neuron: Any, s: tuple[Tensor, ...], current: Tensor, params: Mapping[str, Tensor]) -> Blocks:
    """Take the Jacobian blocks of a neuron's step by S + 1 pulls of `torch.func.vjp`.

    Because the step is element-wise, one pull with a cotangent of ones gives a whole row of blocks for every
    step, sample and unit at once. A step that is not element-wise gives wrong blocks without any sign of it:
    `tracetorch.testing` has a check. States are `[..., *unit]` each, the current `[..., *unit]`, or `[T, B, C, *unit]`
    where the neuron takes several; parameters, by name, broadcast to the units' shape.
    """
    from tracetorch.neurons.binding import bind

    size = len(neuron.state)
    counters = tuple(s[size:])
    names = tuple(params)
    several = len(neuron.currents) > 1
    drives = current.detach().unbind(2) if several else (current.detach(),)
    shape = drives[0].shape
    values = tuple(params[n].detach().expand(shape) for n in names)

    def step(states: tuple[Tensor, ...], drives: tuple[Tensor, ...], phis: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        bound = bind(neuron, dict(zip(names, phis, strict=True)))
        after, z = bound.step(neuron.pack((*states, *counters)), neuron.pack_currents(drives))
        return (*after[:size], z)

    def by_current(row: tuple[Tensor, ...]) -> Tensor:
        return torch.stack(row, 2) if several else row[0]

    states = tuple(x.detach().expand(shape) for x in s[:size])
    with torch.enable_grad():
        outputs, pull, *_ = torch.func.vjp(step, states, drives, values)
    rows = []
    for i in range(size + 1):
        pulled = pull(
            tuple(torch.ones_like(o) if i == j else torch.zeros_like(o) for j, o in enumerate(outputs)),
            retain_graph=i < size,
        )
        rows.append(pulled)
    return Blocks(
        A=[rows[i][0] for i in range(size)],
        B=[by_current(rows[i][1]) for i in range(size)],
        D=rows[size][0],
        psi=by_current(rows[size][1]),
        P={n: [rows[i][2][k] for i in range(size)] for k, n in enumerate(names)},
        Q={n: rows[size][2][k] for k, n in enumerate(names)},
    )
