"""Compare gradients by relative error, cosine and norm ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gradients:
    """Outputs of a run, and the gradient of every learned parameter.

    Args:
        values: outputs, `[T, B, *out]`, or `[B, *out]` of the last step alone.
        grads: gradients by parameter name, `[*parameter]` each; zero where there was none.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5))
        >>> found = tt.testing.bptt(net, torch.ones(4, 1, 3), lambda ys, steps: ys.sum())
        >>> found.values.shape, found.grads["synapse.weight"].shape
        (torch.Size([4, 1, 2]), torch.Size([2, 3]))
    """

    values: Tensor
    grads: Mapping[str, Tensor]


@dataclass(frozen=True)
class Agreement:
    r"""How close a gradient is to its reference.

    .. math:: \frac{\|g - g^*\|}{\|g^*\|}, \qquad \frac{\langle g, g^* \rangle}{\|g\|\,\|g^*\|}, \qquad
        \frac{\|g\|}{\|g^*\|}

    Args:
        relative_error: zero where they are equal.
        cosine: one where they point the same way, whatever their lengths.
        norm_ratio: one where they are equally long.

    Example:
        >>> import torch, tracetorch as tt
        >>> found = tt.testing.agreement(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]))
        >>> round(found.cosine, 3), round(found.norm_ratio, 3)
        (0.707, 0.707)
    """

    relative_error: float
    cosine: float
    norm_ratio: float


def agreement(got: Tensor, reference: Tensor) -> Agreement:
    """Measure how close a tensor is to a reference.

    A zero reference gives 0 or infinity as the relative error and the norm ratio, and no cosine (nan).

    Args:
        got: the tensor to judge, `[...]`.
        reference: what it should be, `[...]`.

    Returns:
        The three measures.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> from tracetorch.testing import agreement
        >>> agreement(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.0]))
        Agreement(relative_error=1.0, cosine=1.0, norm_ratio=2.0)
    """
    if got.shape != reference.shape:
        raise ValueError(f"shapes differ: {list(got.shape)} against the reference's {list(reference.shape)}")
    a, b = got.detach().double().reshape(-1), reference.detach().double().reshape(-1)
    error, length, norm = float((a - b).norm()), float(a.norm()), float(b.norm())
    if norm == 0.0:
        far = 0.0 if length == 0.0 else math.inf
        return Agreement(far, math.nan, far)
    cosine = float(torch.dot(a, b)) / (length * norm) if length > 0.0 else math.nan
    return Agreement(error / norm, cosine, length / norm)
