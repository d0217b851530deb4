"""Products of sparse inputs with weights, formed from the inputs' events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Events(Protocol):
    """The inputs of a window, `[T, B, K]`, by those that are not zero."""

    @property
    def shape(self) -> torch.Size:
        """`[T, B, K]`."""
        ...

    def dense(self) -> Tensor:
        """Return the inputs, `[T, B, K]`."""
        ...

    def outer_sum(self, q: Tensor) -> Tensor:
        """Return the sum of their outer products with gradients `[T B, N]`, `[N, K]`."""
        ...

    def advance_full(self, q: Tensor, start: Tensor, trace: Tensor) -> None:
        r"""Advance full eligibilities, `[B, N, K]`, over the window in place; `start` has transitions, `[B, N]`.

        .. math:: E \leftarrow \Pi \odot E + \sum_t q_t \otimes x_t
        """
        ...


@dataclass(frozen=True)
class Product:
    """The product of a dense synapse that a scan forms from its inputs' events.

    Args:
        events: the inputs.
        weight: `[N, K]`.
        bias: `[N]`, or None.
    """

    events: Events
    weight: Tensor
    bias: Tensor | None


class Convolution(Protocol):
    """The products of a convolution, formed from events where that is faster."""

    def current(self, x: Tensor) -> Tensor:
        """Return the currents `[R, *unit]`, bias included, of inputs `[R, *in]`."""
        ...

    def weight_grad(self, x: Tensor, q: Tensor) -> Tensor:
        """Return the weight's gradient from the synapse's features of inputs and the currents' cotangents."""
        ...

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return the inputs' cotangents from the currents', through the weights or a feedback in their shape."""
        ...
