"""A fixed factor per element, which NIR has as a node and torch not as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scale(nn.Module):
    """Product of each element and a fixed factor.

    Args:
        scale: the factors, `[*in]`, or a number.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.interop.Scale(torch.tensor([1.0, 2.0]))(torch.ones(1, 2))
        tensor([[1., 2.]])
    """

    scale: Tensor

    def __init__(self, scale: Tensor | float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.get_default_dtype()).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled input.

        Args:
            x: the input, `[B, *in]`.

        Returns:
            The product, `[B, *in]`.
        """
        return x * self.scale

    def extra_repr(self) -> str:
        """Return what the representation shows."""
        return f"shape={tuple(self.scale.shape)}"
