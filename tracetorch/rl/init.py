"""Sparse first weights, which keep streams of correlated inputs from interfering."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def sparse_(weight: Tensor, sparsity: float = 0.9, *, least: int = 8) -> Tensor:
    r"""Draw weights, most of each unit's set to zero, in place.

    .. math:: W_{ij} \sim U(-k, k), \quad k = 1/\sqrt{n_\text{in}}, \quad
        \text{all but } \max(\lceil (1-s)\,n_\text{in} \rceil,\ \min(m, n_\text{in})) \text{ of a row set to } 0

    A row keeps at least `least` inputs, so small fan-ins are spared: with a sparsity of 0.9 and 4 inputs, nothing would
    be left of some rows.

    Args:
        weight: `[out, *in]`.
        sparsity: share of zeros, `s`, in [0, 1).
        least: number of inputs that a row keeps at least, `m`.

    Returns:
        The weight, `[out, *in]`.

    Raises:
        ValueError: if `sparsity` is outside its range.

    Source: M. Elsayed, G. Vasan, A. R. Mahmood, "Streaming Deep Reinforcement Learning Finally Works" (2024),
    https://arxiv.org/abs/2410.14606; the least number is ours.

    Example:
        >>> import torch, tracetorch as tt
        >>> w = tt.rl.sparse_(torch.empty(3, 100))
        >>> (w != 0).sum(1)
        tensor([10, 10, 10])
        >>> int((tt.rl.sparse_(torch.empty(3, 4)) != 0).sum())
        12
    """
    if not 0.0 <= sparsity < 1.0:
        raise ValueError(f"sparsity is a share of zeros in [0, 1), got {sparsity}")
    flat = weight.view(weight.shape[0], -1)
    inputs = flat.shape[1]
    flat.uniform_(-1.0, 1.0).div_(inputs**0.5)
    nonzero = max(inputs - int(sparsity * inputs), min(least, inputs))
    order = torch.rand_like(flat).argsort(1)
    flat.scatter_(1, order[:, nonzero:], 0.0)
    return weight


def sparse_init(net: nn.Module, sparsity: float = 0.9, *, least: int = 8) -> None:
    """Draw the weights of all linear and convolutional synapses by `sparse_`, and set their biases to zero.

    Args:
        net: the network.
        sparsity: share of zeros, in [0, 1).
        least: number of inputs that a unit keeps at least.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.rl.sparse_init(torch.nn.Linear(100, 2))
    """
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            sparse_(module.weight, sparsity, least=least)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
