"""The dense synapse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracetorch.ops.products import outer_sum, product
from tracetorch.synapses.base import Synapse


class LinearSynapse(Synapse):
    """Adapt `nn.Linear`; dimensions between batch and features are positions that share the weights."""

    module: nn.Linear

    def weights(self) -> tuple[Tensor, ...]:
        """Return the weight, `[out, in]`."""
        return (self.module.weight,)

    def bias(self) -> Tensor | None:
        """Return the bias, `[out]`."""
        return self.module.bias

    def check(self, x: Tensor) -> None:
        """Raise ValueError where the last dimension is not `in_features`."""
        if x.dim() < 2 or x.shape[-1] != self.module.in_features:
            raise ValueError(
                f"this layer takes inputs [batch, ..., {self.module.in_features}] per time step, got {list(x.shape)}; "
                f"give one step at a time, or a whole sequence [time, batch, ...] to tt.scan"
            )

    def current(self, x: Tensor) -> Tensor:
        """Return the currents, `[N, ..., out]`."""
        flat = product(x.reshape(-1, x.shape[-1]), self.module.weight, self.module.bias)
        return flat.view(*x.shape[:-1], self.module.out_features)

    def like(self, x: Tensor) -> Tensor:
        """Return a tensor of the form of the currents, `[N, ..., out]`."""
        dtype = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
        return x.new_empty(*x.shape[:-1], self.module.out_features, dtype=dtype)

    def features(self, x: Tensor) -> Tensor:
        """Return the input itself."""
        return x

    def weight_grad(self, features: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        """Return the weight's gradient, `[out, in]`."""
        return (outer_sum(q.reshape(-1, q.shape[-1]), features.reshape(-1, features.shape[-1])),)

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return `q W`, `[N, ..., in]`."""
        weight = self.module.weight if weight is None else weight
        return product(q.reshape(-1, q.shape[-1]), weight.t()).view(*q.shape[:-1], self.module.in_features)

    def patches(self, features: Tensor) -> Tensor:
        """Return the features as `[N, 1, L, in]`."""
        return features.reshape(features.shape[0], 1, features.shape[1:-1].numel(), features.shape[-1])

    def units(self, q: Tensor) -> Tensor:
        """Return the values as `[N, 1, out, L]`."""
        return q.reshape(q.shape[0], 1, q.shape[1:-1].numel(), q.shape[-1]).transpose(2, 3)

    def fold(self, grad: Tensor) -> tuple[Tensor, ...]:
        """Return the gradient `[1, out, in]` as `[out, in]`."""
        return (grad[0],)
