"""Products of many rows with a small matrix, by the faster of the two libraries that torch brings.

Torch gives dense products to a BLAS and convolutions to oneDNN. A convolution of width one is a dense product, and on
processors whose vendor the BLAS does not favour it takes half the time.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from tracetorch.ops.pool import into_pool, pool

LEAST = 2**24
"""Multiplications from which a product is large enough for a convolution's start."""
THIN = 32
"""Terms of a sum below which a product is over before a convolution pays."""
IMAGES = 16
"""Images that the rows are laid out as: torch gives fewer to oneDNN only where it has several threads."""


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Return :math:`x W^\top + b`, `[R, N]`, of rows `[R, K]`.

    Large ones in float32 on an x86 CPU differ from torch's by the order of summation.

    >>> import torch
    >>> product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[11.]])
    """
    units = weight.shape[0]
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return nn.functional.linear(x, weight, bias)
    if not _convolved(x, x.shape[1], units):
        if bias is not None:
            return nn.functional.linear(x, weight, bias)
        return into_pool(torch.matmul, (x.shape[0], units), x, weight.t())
    pool()  # has the C library keep what the convolution's results are formed in
    out = nn.functional.conv2d(_image(x), weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(x.shape[0], units)


def outer_sum(q: Tensor, x: Tensor) -> Tensor:
    r"""Return :math:`\sum_r q_r \otimes x_r`, `[N, K]`, the gradient of a weight, under the same reserve.

    >>> import torch
    >>> outer_sum(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]))
    tensor([[3.],
            [6.]])
    """
    if _convolved(x, x.shape[0], q.shape[1]):
        shape = (q.shape[1], x.shape[1], 1, 1)
        found: Tensor = conv2d_weight(_image(x), shape, _image(q))
        return found.view(shape[:2])
    return q.t() @ x


@cache
def _at_hand() -> bool:
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX")


def _convolved(x: Tensor, terms: int, units: int) -> bool:
    """Return whether a convolution serves sums of so many terms over the rows or columns of `x`, and pays."""
    if torch.compiler.is_compiling() or x.dtype != torch.float32 or not x.is_cpu:
        return False
    large = x.numel() * units >= LEAST and x.shape[0] >= IMAGES and terms >= THIN
    return large and _at_hand() and bool(torch.backends.mkldnn.enabled)


def _image(x: Tensor) -> Tensor:
    """Return rows `[R, K]` as images `[I, K, R / I, 1]` with the channels last in memory."""
    images = math.gcd(x.shape[0], IMAGES)
    return x.contiguous().view(images, -1, 1, x.shape[1]).permute(0, 3, 1, 2)
