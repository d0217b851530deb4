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

    def serving(self, count: int) -> Synapse:
        """Return the adapter for a neuron that takes `count` currents per unit."""
        return LinearCurrents(self.module, count) if count > 1 else self

    def weights(self) -> tuple[Tensor, ...]:
        """Return the weight, `[out, in]`."""
        return (effective_weight(self.module),)

    def bias(self) -> Tensor | None:
        """Return the bias, `[out]`."""
        return effective_bias(self.module)

    def dense(self) -> tuple[Tensor, Tensor | None] | None:
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
        weight, bias = self.weights()[0], self.bias()
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


class LinearCurrents(LinearSynapse):
    """Adapt `nn.Linear` to a neuron of C currents per unit: rows by current, `[C N, in]`, give `[batch, C, N]`."""

    def __init__(self, module: nn.Linear, count: int) -> None:
        super().__init__(module)
        self.count = count

    def bias(self) -> Tensor | None:
        """Return the bias, `[C, N]`."""
        bias = super().bias()
        return None if bias is None else bias.unflatten(0, (self.count, -1))

    def dense(self) -> None:
        """Return None: kernels that form a product themselves take one current per unit."""

    def check(self, x: Tensor) -> None:
        """Raise ValueError where an input is not `[batch, in_features]`, or the rows are not C for each unit."""
        super().check(x)
        rows, inputs = self.weights()[0].shape
        if rows % self.count:
            raise ValueError(
                f"the neuron takes {self.count} currents per unit, so nn.Linear gives a multiple of {self.count}, the "
                f"rows of the first current before those of the next; this one gives {rows}"
            )
        if x.dim() != 2:
            raise ValueError(
                f"with several currents per unit a layer takes inputs [batch, {inputs}], got {list(x.shape)}"
            )

    def current(self, x: Tensor) -> Tensor:
        """Return the currents, `[batch, C, N]`."""
        return product(x, self.weights()[0], super().bias()).view(len(x), self.count, -1)

    def out_units(self, x: Tensor) -> torch.Size:
        """Return `[C, N]`."""
        return torch.Size((self.count, self.weights()[0].shape[0] // self.count))

    def weight_grad(self, features: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        """Return the weight's gradient, `[C N, in]`."""
        return super().weight_grad(features, q.flatten(1))

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return `q W`, `[batch, in]`."""
        return super().input_grad(q.flatten(1), x, weight)

    def units(self, q: Tensor) -> Tensor:
        """Return the values as `[batch, 1, C N, 1]`."""
        return super().units(q.flatten(1))
