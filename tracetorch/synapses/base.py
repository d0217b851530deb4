r"""The synapse as a trace sees it: :math:`I = W \cdot \mathrm{features}(x) + b`.

Units are laid out as `[G, O, L]`: G groups, O output channels per group, L positions that share the weights.
A dense map has one group and one position; a convolution has its groups and its output positions. The
features of an input are then `[N, G, L, K]`, K weights per unit, and one contraction serves every synapse.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Synapse(ABC):
    """Adapt one kind of module to what traces need; holds no state and no tensors.

    Args:
        module: the module that is linear in its weights.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @abstractmethod
    def weights(self) -> tuple[Tensor, ...]:
        """Return the weights, without the bias."""

    def bias(self) -> Tensor | None:
        """Return the bias in the units' shape or one that broadcasts to it, with its graph; None without."""
        return None

    @abstractmethod
    def check(self, x: Tensor) -> None:
        """Raise ValueError where an input `[N, *in]` does not fit."""

    @abstractmethod
    def current(self, x: Tensor) -> Tensor:
        """Return the currents `[N, *unit]` of inputs `[N, *in]`, bias included."""

    def like(self, x: Tensor) -> Tensor:
        """Return a tensor of the form of the currents of inputs `[N, *in]`, at least in single precision."""
        found = self.current(x)
        return found.float() if found.dtype in (torch.float16, torch.bfloat16) else found

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return what a trace of the input averages, `[N, *features]`, linear in which the current is."""

    @abstractmethod
    def weight_grad(self, features: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        """Return the weights' gradients, summed over N, from features and currents' cotangents `[N, *unit]`."""

    @abstractmethod
    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return the inputs' cotangents from the currents', through the weights or a feedback in their shape."""

    @abstractmethod
    def patches(self, features: Tensor) -> Tensor:
        """Return the features laid out per position, `[N, G, L, K]`."""

    @abstractmethod
    def units(self, q: Tensor) -> Tensor:
        """Return per-unit values `[N, *unit]` laid out as `[N, G, O, L]`."""

    @abstractmethod
    def fold(self, grad: Tensor) -> tuple[Tensor, ...]:
        """Return gradients `[G, O, K]` in the weights' own shapes."""

    def outer(self, q: Tensor, patches: Tensor) -> Tensor:
        """Return the sum over time of per-sample outer products.

        Args:
            q: per-unit values, `[T, B, G, O, L]`.
            patches: features, `[T, B, G, L, K]`.

        Returns:
            The sums, `[B, G, O, L, K]`.
        """
        if q.shape[0] == 1:
            return q[0].unsqueeze(-1) * patches[0].unsqueeze(2)
        return torch.einsum("tbgol,tbglk->bgolk", q, patches)

    def contract(self, q: Tensor, trace: Tensor) -> tuple[Tensor, ...]:
        """Return the weights' gradients from per-unit cotangents and a full trace.

        Args:
            q: cotangents of the carried state, `[B, *unit]`.
            trace: eligibility, `[B, G, O, L, K]`.

        Returns:
            The gradients, summed over the batch.
        """
        return self.fold(torch.einsum("bgol,bgolk->gok", self.units(q), trace))


def flat_time(x: Tensor) -> Tensor:
    """Return `[T, B, ...]` as `[T * B, ...]`."""
    return x.reshape(-1, *x.shape[2:])


def positions(shape: Sequence[int]) -> int:
    """Return the number of positions of a shape."""
    total = 1
    for size in shape:
        total *= size
    return total
