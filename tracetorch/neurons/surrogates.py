r"""Surrogate derivatives: what stands for the derivative of the spike, :math:`z = [x > 0]`.

Each is a frozen value with the method `derivative(x)`, where `x` is the distance to the threshold.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Surrogate(ABC):
    """Spike function with a stand-in for its derivative.

    Calling a surrogate returns the Heaviside step of its argument; `derivative` is used backwards.

    Example:
        >>> import torch, tracetorch as tt
        >>> class Exponential(tt.surrogates.Surrogate):
        ...     def derivative(self, x):
        ...         return torch.exp(-x.abs())
        >>> neuron = tt.LIF(half_life=5, surrogate=Exponential())
        >>> neuron.surrogate(torch.tensor([-1.0, 1.0]))
        tensor([0., 1.])
    """

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """Return the stand-in for `dz/dx`.

        Args:
            x: distance to the threshold, `[...]`, in the unit of the membrane.

        Returns:
            The derivative, `[...]`.
        """

    def __call__(self, x: Tensor) -> Tensor:
        """Return `1` where `x > 0` and `0` elsewhere, in the dtype of `x`."""
        if not torch.is_grad_enabled():
            return (x > 0).to(x.dtype)
        z: Tensor = _Spike.apply(x, self)
        return z


class _Spike(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, surrogate: Surrogate) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Surrogate], output: Tensor) -> None:
        x, ctx.surrogate = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, z_bar: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return z_bar * ctx.surrogate.derivative(x), None


@dataclass(frozen=True)
class ATan(Surrogate):
    r"""Derivative of the arctangent.

    .. math:: \psi(x) = \frac{\alpha / 2}{1 + (\pi \alpha x / 2)^2}

    Source: W. Fang et al., "Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural
    Networks" (2021), https://arxiv.org/abs/2007.05785.

    Args:
        scale: `alpha`, one over the unit of the membrane; the height at the threshold is `alpha / 2`.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.surrogates.ATan(2.0).derivative(torch.zeros(1))
        tensor([1.])
    """

    scale: float = 2.0

    def derivative(self, x: Tensor) -> Tensor:
        """Return the stand-in derivative at `x`, of any shape."""
        return (self.scale / 2) / (1 + (math.pi / 2 * self.scale * x) ** 2)


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    r"""Derivative of the fast sigmoid.

    .. math:: \psi(x) = \frac{1}{(1 + \alpha |x|)^2}

    Source: F. Zenke, S. Ganguli, "SuperSpike: Supervised Learning in Multilayer Spiking Neural Networks" (2018),
    https://arxiv.org/abs/1705.11146.

    Args:
        scale: `alpha`, one over the unit of the membrane.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.surrogates.FastSigmoid(10.0).derivative(torch.zeros(1))
        tensor([1.])
    """

    scale: float = 10.0

    def derivative(self, x: Tensor) -> Tensor:
        """Return the stand-in derivative at `x`, of any shape."""
        return (1 + self.scale * x.abs()) ** -2


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    r"""Derivative of the logistic function.

    .. math:: \psi(x) = \alpha\, \sigma(\alpha x) (1 - \sigma(\alpha x))

    Source: E. Neftci, H. Mostafa, F. Zenke, "Surrogate Gradient Learning in Spiking Neural Networks" (2019),
    https://arxiv.org/abs/1901.09948.

    Args:
        scale: `alpha`, one over the unit of the membrane; the height at the threshold is `alpha / 4`.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.surrogates.Sigmoid(4.0).derivative(torch.zeros(1))
        tensor([1.])
    """

    scale: float = 4.0

    def derivative(self, x: Tensor) -> Tensor:
        """Return the stand-in derivative at `x`, of any shape."""
        s = torch.sigmoid(self.scale * x)
        return self.scale * s * (1 - s)


@dataclass(frozen=True)
class Triangle(Surrogate):
    r"""Triangle of the e-prop paper.

    .. math:: \psi(x) = \frac{\gamma}{w} \max(0, 1 - |x| / w)

    Source: G. Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking neurons" (2020),
    https://doi.org/10.1038/s41467-020-17236-y; there `w` is the threshold and `gamma` is 0.3.

    Args:
        scale: `gamma`, the dampening factor.
        width: `w`, half the base of the triangle, in the unit of the membrane.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.surrogates.Triangle(0.3, 1.0).derivative(torch.tensor([0.0, 0.5, 2.0]))
        tensor([0.3000, 0.1500, 0.0000])
    """

    scale: float = 0.3
    width: float = 1.0

    def derivative(self, x: Tensor) -> Tensor:
        """Return the stand-in derivative at `x`, of any shape."""
        return (self.scale / self.width) * (1 - x.abs() / self.width).clamp(min=0)


@dataclass(frozen=True)
class StraightThrough(Surrogate):
    r"""A constant near the threshold, zero elsewhere: the straight-through estimator.

    .. math:: \psi(x) = \alpha\, [|x| < w]

    Source: Y. Bengio, N. Léonard, A. Courville, "Estimating or Propagating Gradients Through Stochastic Neurons"
    (2013), https://arxiv.org/abs/1308.3432.

    Args:
        scale: `alpha`, the height.
        width: `w`, half the base, in the unit of the membrane; infinite for everywhere.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.surrogates.StraightThrough().derivative(torch.tensor([0.0, 3.0]))
        tensor([1., 0.])
    """

    scale: float = 1.0
    width: float = 1.0

    def derivative(self, x: Tensor) -> Tensor:
        """Return the stand-in derivative at `x`, of any shape."""
        return self.scale * (x.abs() < self.width).to(x.dtype)
