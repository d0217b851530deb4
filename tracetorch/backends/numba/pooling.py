"""Maximum and average pools over a window, whose windows in space lie side by side: torch's values and gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tracetorch.backends.numba.arrays import empty
from tracetorch.backends.numba.compile import event_kernel
from tracetorch.backends.numba.packed import FLOATS
from tracetorch.backends.numba.scan import why_not
from tracetorch.backends.numba.workers import Workers

SMALL = 2**15
"""Inputs below which torch's own pool is not slower."""
_FORWARD: dict[type[nn.Module], Any] = {kind: kind.forward for kind in (nn.MaxPool2d, nn.AvgPool2d)}
_WORKERS = Workers()


def pooled(module: nn.Module, x: Tensor) -> Tensor | None:
    """Return the maxima or means of inputs `[N, C, height, width]`, with their graph.

    Args:
        module: a module, whose hooks the caller has looked for.
        x: the inputs.

    Returns:
        What the module returns, with the same gradient, bit for bit; None where torch is to compute it: no plain
        `nn.MaxPool2d` or `nn.AvgPool2d` whose windows lie side by side and fit, another device or dtype, few inputs,
        or no Numba.

    Example:
        >>> pooled(nn.MaxPool2d(3, stride=2), torch.zeros(100, 8, 9, 9)) is None
        True
    """
    if _FORWARD.get(type(module)) is not type(module).forward or "forward" in module.__dict__:
        return None
    if not isinstance(module, nn.MaxPool2d | nn.AvgPool2d) or module.ceil_mode:
        return None
    window = _pair(module.kernel_size)
    if isinstance(module, nn.MaxPool2d):
        plain = _pair(module.dilation) == (1, 1) and not module.return_indices
    else:
        plain = module.divisor_override is None
    plain = plain and _pair(module.stride) == window and _pair(module.padding) == (0, 0)
    if window is None or not plain or not 0 < window[0] * window[1] <= 255:
        return None
    plain = type(x) is Tensor and x.is_cpu and x.dtype in FLOATS and x.dim() == 4 and x.is_contiguous()
    if not plain or x.numel() < SMALL or window[0] > x.shape[2] or window[1] > x.shape[3]:
        return None
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu") or why_not():
        return None
    found: Tensor = (_Maxima if isinstance(module, nn.MaxPool2d) else _Means).apply(x, window)
    return found


def _pair(value: Any) -> tuple[int, int] | None:
    """Return an option of a pool as rows and columns; None where it is none of torch's forms."""
    pair = (value, value) if isinstance(value, int) else value
    whole = isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(n, int) and n >= 0 for n in pair)
    return (pair[0], pair[1]) if whole else None


class _Maxima(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: tuple[int, int]) -> Tensor:
        out = _pooled(ctx, x, window)
        places = torch.empty(out.shape, dtype=torch.uint8)
        _kernel("maxima", ctx, x.detach(), out, places)
        ctx.save_for_backward(places)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, q: Tensor) -> Any:
        out = empty(ctx.shape, q)
        _kernel("maxima_back", ctx, q.contiguous(), *ctx.saved_tensors, out)
        return out, None


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: tuple[int, int]) -> Tensor:
        out = _pooled(ctx, x, window)
        _kernel("means", ctx, x.detach(), out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, q: Tensor) -> Any:
        out = empty(ctx.shape, q)
        _kernel("means_back", ctx, q.contiguous(), out)
        return out, None


def _pooled(ctx: Any, x: Tensor, window: tuple[int, int]) -> Tensor:
    """Return memory for what comes of a pool, whose sizes are noted."""
    height, width = x.shape[2:]
    shape = (*x.shape[:2], height // window[0], width // window[1])
    ctx.sizes, ctx.shape = (height, width, *shape[2:], *window), x.shape
    return empty(shape, x)


def _kernel(name: str, ctx: Any, *arrays: Tensor) -> None:
    """Run one of the kernels of `pools.py` on all planes."""
    event_kernel(arrays[0].dtype, name, "pools")(_WORKERS, ctx.shape[0] * ctx.shape[1], ctx.sizes, *arrays)
