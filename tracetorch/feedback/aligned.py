"""Feedback that follows the weights: by their signs, or by learning as they learn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.feedback.feedback import Feedback, RandomFeedback


@dataclass(frozen=True)
class SignSymmetric(Feedback):
    r"""Feedback through the signs of the synapse's weights, as they are now.

    .. math:: B_{ij} = \mathrm{sign}(W_{ij})\, M_{ij}, \qquad M_{ij} = 1 / \sqrt{n_\mathrm{in}}

    The sizes `M` are the layer's parameter `feedback`, without gradient: they are in `state_dict` and may be set.

    Source: Q. Liao, J. Leibo, T. Poggio, "How Important is Weight Symmetry in Backpropagation?" (2016),
    https://arxiv.org/abs/1510.05067.

    Args:
        scale: factor on the sizes.

    Example:
        >>> import torch, tracetorch as tt
        >>> rule = tt.rules.eprop(feedback=tt.feedback.SignSymmetric())
        >>> tt.Layer(torch.nn.Linear(4, 2), tt.LI(half_life=5), rule=rule).feedback[0]
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """

    scale: float = 1.0

    fixed = False

    def matrix(self, weight: Tensor) -> Tensor:
        """Return the sizes, in the weight's shape, dtype and device."""
        return torch.full_like(weight, self.scale / weight[0].numel() ** 0.5)

    def through(self, weight: Tensor, matrix: Tensor) -> Tensor:
        """Return the sizes with the signs of the weight."""
        return weight.sign() * matrix


@dataclass(frozen=True)
class KolenPollack(RandomFeedback):
    r"""Feedback through a matrix that begins at random and has the gradient of the weights, by which it aligns.

    .. math:: \Delta B = \Delta W, \qquad W - B \to (1 - \eta \gamma)^k (W_0 - B_0)

    The matrix is the layer's parameter `feedback`, and its `.grad` that of the weight: give both to one optimizer with
    weight decay :math:`\gamma`, as `net.parameters()` does, and they become one. Without weight decay they stay apart.
    Compiled single steps do not serve it.

    Source: M. Akrout et al., "Deep Learning without Weight Transport" (2019), https://arxiv.org/abs/1904.05391, after
    J. Kolen, J. Pollack, "Backpropagation without weight transport" (1994), https://doi.org/10.1109/ICNN.1994.374486.

    Args:
        scale: factor on the standard deviation at the beginning.

    Example:
        >>> import torch, tracetorch as tt
        >>> rule = tt.rules.eprop(feedback=tt.feedback.KolenPollack())
        >>> layer = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5), rule=rule)
        >>> layer(torch.ones(1, 3)).sum().backward()
        >>> torch.equal(layer.feedback.grad, layer.synapse.weight.grad)
        True
    """

    learns = True
    fixed = False
