"""The dense synapse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracetorch.ops.products import outer_sum, product
from tracetorch.synapses.base import Synapse
from tracetorch.synapses.effective import effective_bias, effective_weight


class LinearSynapse(Synapse):
    """Adapt `nn.Linear`; dimensions between batch and features are positions that share the weights."""

    module: nn.Linear

    def weights(self) -> tuple[Tensor, ...]:
        """Return the weight, `[out, in]`."""
        return (effective_weight(self.module),)

    def bias(self) -> Tensor | None:
        """Return the bias, `[out]`."""
        return effective_bias(self.module)

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """Return the weight and the bias."""
        return self.weights()[0], self.bias()

    def feedback_weight(self) -> Tensor:
        """Return the weight."""
        return self.weights()[0].detach()

    def check(self, x: Tensor) -> None:
        """Raise ValueError where the last dimension is not `in_features`."""
        inputs = self.weights()[0].shape[1]
        if x.dim() < 2 or x.shape[-1] != inputs:
            raise ValueError(
                f"this layer takes inputs [batch, ..., {inputs}] per time step, got {list(x.shape)}; "
                f"give one step at a time, or a whole sequence [time, batch, ...] to tt.scan"
            )

    def current(self, x: Tensor) -> Tensor:
        """Return the currents, `[N, ..., out]`."""
        weight, bias = self.dense()
        return product(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], weight.shape[0])

    def out_units(self, x: Tensor) -> torch.Size:
        """Return the shape of the units, `[..., out]`."""
        return torch.Size((*x.shape[1:-1], self.weights()[0].shape[0]))

    def features(self, x: Tensor) -> Tensor:
        """Return the input itself."""
        return x

    def weight_grad(self, features: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        """Return the weight's gradient, `[out, in]`."""
        return (outer_sum(q.reshape(-1, q.shape[-1]), features.reshape(-1, features.shape[-1]).to(q.dtype)),)

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return `q W`, `[N, ..., in]`."""
        weight = (self.weights()[0] if weight is None else weight).to(q.dtype)
        return product(q.reshape(-1, q.shape[-1]), weight.t()).view(*q.shape[:-1], weight.shape[1])

    def patches(self, features: Tensor) -> Tensor:
        """Return the features as `[N, 1, L, in]`."""
        return features.reshape(features.shape[0], 1, features.shape[1:-1].numel(), features.shape[-1])

    def units(self, q: Tensor) -> Tensor:
        """Return the values as `[N, 1, out, L]`."""
        return q.reshape(q.shape[0], 1, q.shape[1:-1].numel(), q.shape[-1]).transpose(2, 3)

    def fold(self, grad: Tensor) -> tuple[Tensor, ...]:
        """Return the gradient `[1, out, in]` as `[out, in]`."""
        return (grad[0],)
