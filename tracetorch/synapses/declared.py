"""A user's own synapse: any module that the user declares linear in its weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracetorch.synapses.base import Synapse


class LinearInWeights(nn.Module):
    r"""Declare that a module's output is linear in its weights, so that it may stand in a layer.

    .. math:: I = J(x)\, W, \qquad J(x) = \partial I / \partial W

    The declaration is the user's: `tracetorch.testing.check_linear_in_weights` tests it. The module may be anything
    in its input; it must treat samples apart. Its full trace keeps `units x weights` numbers per sample.

    Args:
        module: the module; it is called as `module(x)` with `x` of shape `[batch, *in]`.

    Example:
        >>> import torch, tracetorch as tt
        >>> class Scaled(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.w = torch.nn.Parameter(torch.ones(3))
        ...     def forward(self, x):
        ...         return self.w * x
        >>> tt.Layer(tt.LinearInWeights(Scaled()), tt.LIF(half_life=5))(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Return the module's output."""
        out: Tensor = self.module(x)
        return out


class DeclaredSynapse(Synapse):
    """Adapt `LinearInWeights`, by its Jacobian: every unit is a position that shares all the weights."""

    module: LinearInWeights

    def weights(self) -> tuple[Tensor, ...]:
        """Return all parameters of the module."""
        return tuple(self.module.parameters())

    def check(self, x: Tensor) -> None:
        """Accept any input with a batch dimension; the module itself says what it takes."""
        if x.dim() < 1:
            raise ValueError(f"this layer takes inputs [batch, ...] per time step, got {list(x.shape)}")

    def current(self, x: Tensor) -> Tensor:
        """Return the module's output."""
        out: Tensor = self.module(x)
        return out

    def features(self, x: Tensor) -> Tensor:
        """Return the Jacobian by all weights, `[N, units, weights]`."""
        names = [n for n, _ in self.module.named_parameters()]
        values = tuple(p.detach() for p in self.module.parameters())

        def one(ws: tuple[Tensor, ...], sample: Tensor) -> Tensor:
            out: Tensor = torch.func.functional_call(
                self.module, dict(zip(names, ws, strict=True)), (sample.unsqueeze(0),)
            )
            return out.reshape(-1)

        jacobians = torch.func.vmap(torch.func.jacrev(one), in_dims=(None, 0))(values, x.detach())
        return torch.cat([j.flatten(2) if j.dim() > 2 else j.unsqueeze(-1) for j in jacobians], dim=-1)

    def weight_grad(self, features: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        """Return each parameter's gradient."""
        flat = torch.einsum("nu,nuk->k", q.reshape(q.shape[0], -1), features)
        return self.fold(flat.reshape(1, 1, -1))

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return the inputs' cotangents by the module's own backward."""
        if weight is not None:
            raise ValueError("a random feedback needs nn.Linear or a convolution, not LinearInWeights; use Symmetric()")
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (grad,) = torch.autograd.grad(self.module(leaf), leaf, q)
        return grad

    def patches(self, features: Tensor) -> Tensor:
        """Return the Jacobian as `[N, 1, units, weights]`."""
        return features.unsqueeze(1)

    def units(self, q: Tensor) -> Tensor:
        """Return the values as `[N, 1, 1, units]`."""
        return q.reshape(q.shape[0], 1, 1, -1)

    def fold(self, grad: Tensor) -> tuple[Tensor, ...]:
        """Return the gradient `[1, 1, weights]` as the parameters' own shapes."""
        parameters = list(self.module.parameters())
        pieces = grad.reshape(-1).split([p.numel() for p in parameters])
        return tuple(g.reshape(p.shape) for g, p in zip(pieces, parameters, strict=True))
