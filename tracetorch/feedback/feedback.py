"""Feedback: through the synapse's own transpose, or through a fixed random one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Feedback(ABC):
    """A matrix through which a layer sends credit to the layer below.

    Example:
        >>> import torch, tracetorch as tt
        >>> class Ones(tt.feedback.Feedback):
        ...     def matrix(self, weight):
        ...         return torch.ones_like(weight)
        >>> layer = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5), rule=tt.rules.eprop(feedback=Ones()))
        >>> layer.feedback.shape
        torch.Size([2, 3])
    """

    learns: ClassVar[bool] = False
    """Whether the matrix has a gradient, that of the weight."""
    fixed: ClassVar[bool] = True
    """Whether the matrix that a layer stores is the one that credit goes through, and has no gradient."""

    @abstractmethod
    def matrix(self, weight: Tensor) -> Tensor | None:
        """Return the matrix that a layer stores.

        Args:
            weight: the synapse's weight, `[out, *in]`.

        Returns:
            The matrix, `[out, *in]`; None for the weight itself.
        """

    def through(self, weight: Tensor, matrix: Tensor) -> Tensor:
        """Return the matrix that credit goes through.

        Args:
            weight: the synapse's weight as it is now, `[out, *in]`.
            matrix: what the layer stores, `[out, *in]`.

        Returns:
            The matrix, `[out, *in]`.
        """
        return matrix


@dataclass(frozen=True)
class Symmetric(Feedback):
    """Feedback through the synapse's own weights, as in backpropagation.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.eprop(feedback=tt.feedback.Symmetric()).feedback
        Symmetric()
    """

    def matrix(self, weight: Tensor) -> None:
        """Return None: the weights themselves are used."""


@dataclass(frozen=True)
class RandomFeedback(Feedback):
    r"""Feedback through a fixed random matrix, drawn once with torch's generator.

    .. math:: B_{ij} \sim \mathcal N(0, 1 / n_\mathrm{in})

    The matrix is the layer's parameter `feedback`, without gradient: it is in `state_dict`, may be set, and moves
    with the layer.

    Source: T. Lillicrap et al., "Random synaptic feedback weights support error backpropagation for deep learning"
    (2016), https://doi.org/10.1038/ncomms13276.

    Args:
        scale: factor on the standard deviation.

    Example:
        >>> import torch, tracetorch as tt
        >>> rule = tt.rules.eprop(feedback=tt.feedback.RandomFeedback())
        >>> layer = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5), rule=rule)
        >>> layer.feedback.shape
        torch.Size([2, 3])
    """

    scale: float = 1.0

    def matrix(self, weight: Tensor) -> Tensor:
        """Return the matrix, of the shape, dtype and device of the weight."""
        spread = self.scale / weight[0].numel() ** 0.5
        return torch.randn_like(weight).mul(spread)
