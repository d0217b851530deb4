"""Call the Triton kernels on tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from tracetorch.backends.interface import Filter, Scan


def launch_size(total: int) -> tuple[int, int]:
    """Return how many units a program scans and by how many warps.

    Threads for every multiprocessor come first, then wider loads: a thread takes a second and up to a fourth unit only
    where there are units enough for about 2^17 threads, half of what a large device holds at once.

    Args:
        total: number of units of all rows, B N.

    Returns:
        Units per program, a power of two, and warps.

    Example:
        >>> launch_size(64 * 256), launch_size(256 * 1024)
        ((32, 1), (256, 4))
    """
    each = 4 if total >= 2**19 else 2 if total >= 2**18 else 1
    warps = 4 if total >= 2**16 else 1
    return 32 * warps * each, warps


def launch(kernel: Any, arguments: Sequence[Any], like: Tensor, total: int) -> None:
    """Run a kernel on `total` units, on the device of `like`."""
    if total == 0:
        return
    block, warps = launch_size(total)
    with _device(like):
        # Not fused, a spike is decided by the very numbers of torch; bytes bound the time, not operations.
        kernel[(-(-total // block),)](*arguments, num_warps=warps, enable_fp_fusion=False)


def _device(x: Tensor) -> AbstractContextManager[Any]:
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def flat(x: Tensor, unit: tuple[int, ...]) -> Tensor:
    """Return `[..., *unit]` as contiguous `[..., N]`; memory is shared where it can be."""
    x = x.detach()
    return x.reshape(*x.shape[: x.dim() - len(unit)], math.prod(unit)).contiguous()


def rows(x: Tensor, unit: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Return `[rows, B, *unit]` as one contiguous `[B, N]` for each row."""
    return flat(x, unit).unbind(0)


def parameters(scan: Scan, names: Sequence[str]) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Return the values of a neuron's parameters, and their strides over units: 0 where all share one."""
    units = math.prod(scan.unit)
    values, strides = [], []
    for name in names:
        value = scan.parameter(name)
        shared = value.numel() == 1
        values.append(value.reshape(1) if shared else flat(value.expand(scan.unit), scan.unit))
        strides.append(0 if shared or units == 1 else 1)
    return tuple(values), tuple(strides)


def coefficients(above: Filter | None, constant: tuple[Tensor, Tensor] | None, like: Tensor) -> Tensor:
    """Return coefficients in one row: a by rows, b, d, p of the filter, then A by rows and B; empty for none."""
    parts = [] if above is None or not above.size else [above.a, above.b, above.d, above.p]
    parts += [] if constant is None else list(constant)
    return torch.cat([x.detach().to(like).reshape(-1) for x in parts]) if parts else like.new_empty(0)
