"""Tensors in the layouts that kernels take: units in one dimension, contiguous, of one scalar type."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tracetorch.backends.interface import Filter, Scan
from tracetorch.ops.pool import pool


def flat(x: Tensor, unit: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """Return `[..., *unit]` as contiguous `[..., N]`, of a dtype where one is given."""
    x = x.detach() if dtype is None else x.detach().to(dtype)
    shape = (*x.shape[: x.dim() - len(unit)], math.prod(unit))
    return (x if x.shape == shape else x.reshape(shape)).contiguous()


def stacked(rows: Sequence[Tensor], scan: Scan) -> Tensor:
    """Return tensors `[B, *unit]` as `[rows, B, N]`, contiguous; memory is shared where there is one."""
    if not rows:
        return scan.s[0].new_empty(0, 0, 0)
    together = rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(tuple(rows))
    return flat(together, scan.unit)


def parameter_rows(scan: Scan, names: Sequence[str]) -> Tensor:
    """Return the values of a neuron's parameters per unit, `[P, N]`."""
    like = scan.s[0]
    out = like.new_empty(len(names), *scan.unit)
    for row, name in zip(out.unbind(0), names, strict=True):
        row.copy_(scan.parameter(name))
    return out.view(len(names), math.prod(scan.unit))


def coefficients(above: Filter | None, like: Tensor) -> Tensor:
    """Return the coefficients of a filter in one row: a by rows, b, d, p; of no elements for none."""
    if above is None:
        return like.new_empty(0)
    parts = (above.a.reshape(-1), above.b, above.d, above.p.reshape(1))
    return torch.cat([x.detach().to(like) for x in parts])


def empty(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return memory for a tensor, taken from the pool where it is large."""
    return pool().empty(tuple(shape), like.dtype if dtype is None else dtype)


def absent(rank: int, like: Tensor) -> Tensor:
    """Return an array of no elements instead of one that a kernel does not use."""
    return like.new_empty([0] * rank)
