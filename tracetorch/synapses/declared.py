"""A user's own synapse: any module that the user declares linear in its weights."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from tracetorch.synapses.base import Synapse


class LinearInWeights(nn.Module):
    r"""Declare that a module's output is linear in its weights, so that it may be in a layer.

    .. math:: I = J(x)\, W, \qquad J(x) = \partial I / \partial W

    The declaration is the user's: `tracetorch.testing.check_linear_in_weights` tests it. The module may be anything
    in its input; it must treat samples apart, and must not draw random numbers or write to its buffers.

    Cost: each call computes the Jacobian of each sample and step by all of the module's parameters, frozen ones
    included: for a window, `T B units weights` numbers. A full trace keeps `units weights` numbers per sample and
    state. Where a kind of module is used much, an adapter of its own (`tt.register_synapse`) is worth its lines.

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
        if not isinstance(module, nn.Module):
            raise TypeError(f"LinearInWeights takes an nn.Module with its parameters, got {module!r}")
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Return the module's output.

        Args:
            x: the input, `[B, *in]`.

        Returns:
            The currents, `[B, *unit]`.
        """
        out: Tensor = self.module(x)
        return out


class DeclaredSynapse(Synapse):
    """Adapt `LinearInWeights`, by its Jacobian: every unit is a position that shares all the weights."""

    computed_by: ClassVar[tuple[str, ...]] = ()
    module: LinearInWeights

    def require_usable(self) -> None:
        """Accept the module: it is called, with its hooks, and torch says what does not fit."""

    def weights(self) -> tuple[Tensor, ...]:
        """Return all parameters of the module."""
        found = tuple(self.module.parameters())
        if not found:
            raise ValueError(f"{type(self.module.module).__name__} has no parameters, so there is nothing to trace")
        return found

    def assign(self, weights: tuple[Tensor, ...]) -> None:
        """Set all parameters of the module."""
        for parameter, value in zip(self.module.parameters(), weights, strict=True):
            parameter.copy_(value)

    def check(self, x: Tensor) -> None:
        """Accept any input with a batch dimension; the module itself says what it takes."""
        if x.dim() < 1:
            raise ValueError(f"this layer takes inputs [batch, ...] per time step, got {list(x.shape)}")

    def current(self, x: Tensor) -> Tensor:
        """Return the module's output."""
        out: Tensor = self.module(x)
        return out

    def _tensors(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the module's parameters, then its buffers, by name and without graph, in a dtype."""
        named = [*self.module.named_parameters(), *self.module.named_buffers()]
        return {n: v.detach().to(dtype) if v.is_floating_point() else v for n, v in named}

    def features(self, x: Tensor) -> Tensor:
        """Return the Jacobian by all weights, `[N, units, weights]`."""
        tensors = self._tensors(x.dtype)
        names = [n for n, _ in self.module.named_parameters()]

        def one(weights: dict[str, Tensor], sample: Tensor) -> Tensor:
            out: Tensor = torch.func.functional_call(self.module, {**tensors, **weights}, (sample.unsqueeze(0),))
            return out.reshape(-1)

        weights = {n: tensors[n] for n in names}
        jacobians = torch.func.vmap(torch.func.jacrev(one), in_dims=(None, 0))(weights, x.detach())
        return torch.cat([jacobians[n].reshape(*jacobians[n].shape[:2], -1) for n in names], dim=-1)

    def weight_grad(self, features: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        """Return each parameter's gradient."""
        flat = torch.einsum("nu,nuk->k", q.reshape(q.shape[0], -1), features)
        return self.fold(flat.reshape(1, 1, -1))

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return the inputs' cotangents by the module's own backward; there is no feedback weight."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            out: Tensor = torch.func.functional_call(self.module, self._tensors(x.dtype), (leaf,))
        return torch.autograd.grad(out, leaf, q, materialize_grads=True)[0]

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
