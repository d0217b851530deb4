"""Direct feedback alignment: the error at a network's end reaches each layer through a fixed random matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.layer import Layer


class DirectFeedback(nn.Module):
    r"""Direct feedback alignment: the error at the end of a chain reaches each layer through a fixed random matrix.

    .. math:: L^{(l)}_t = M_l^\top \frac{\partial \mathcal L}{\partial y_t}, \qquad
        M_l \sim \mathcal N(0, \text{scale}^2 / n_\mathrm{out})

    No layer sends credit to the one below. What a layer does with its signal is its rule's: take one of window 1, such
    as `tt.rules.drtrl()` or `ottt()`. `tt.scan` runs the network step by step. The matrices are parameters without
    gradient, in `state_dict`.

    Source: A. Nøkland, "Direct Feedback Alignment Provides Learning in Deep Neural Networks" (2016),
    https://arxiv.org/abs/1609.01596.

    Args:
        net: layers with dense synapses and modules between them; those between learn from the same signal.
        outputs: number of outputs of the network per sample.
        scale: factor on the matrices' standard deviation.

    Raises:
        TypeError: if a layer above the first has no `nn.Linear` as its synapse.

    Example:
        >>> import torch, tracetorch as tt
        >>> from torch import nn
        >>> hidden = tt.Layer(nn.Linear(3, 4), tt.LIF(half_life=5), rule=tt.rules.ottt())
        >>> net = tt.DirectFeedback(nn.Sequential(hidden, tt.Layer(nn.Linear(4, 2), tt.LI(half_life=5))), 2)
        >>> net(torch.ones(1, 3)).shape, net.matrices[0].shape
        (torch.Size([1, 2]), torch.Size([2, 4]))
    """

    def __init__(self, net: nn.Sequential, outputs: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.net = net
        self.matrices = nn.ParameterList()
        for layer in [module for module in _chain(net) if isinstance(module, Layer)][1:]:
            if not isinstance(layer.synapse, nn.Linear):
                raise TypeError(
                    f"direct feedback goes to the input of a dense layer, nn.Linear, got {type(layer.synapse).__name__}"
                )
            drawn = torch.randn(outputs, layer.synapse.in_features).to(layer.synapse.weight)
            self.matrices.append(nn.Parameter(drawn * scale / outputs**0.5, requires_grad=False))

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one time step.

        Args:
            x: input of one step, `[B, *in]`.

        Returns:
            The outputs, `[B, outputs]`.
        """
        inputs: list[Tensor] = []
        first = True
        for module in _chain(self.net):
            if isinstance(module, Layer) and not first:
                inputs.append(x)
                x = x.detach()
            first = first and not isinstance(module, Layer)
            x = module(x)
        out: Tensor = _Direct.apply(x, *inputs, *self.matrices)
        return out


class _Direct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, *rest: Tensor) -> Tensor:
        count = len(rest) // 2
        ctx.shapes = [x.shape for x in rest[:count]]
        ctx.save_for_backward(*rest[count:])
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        matrices = ctx.saved_tensors
        sent = [(bar @ m.to(bar)).reshape(shape) for m, shape in zip(matrices, ctx.shapes, strict=True)]
        return (bar, *sent, *[None] * len(matrices))


def _chain(net: nn.Module) -> Iterator[nn.Module]:
    if isinstance(net, nn.Sequential):
        for child in net:
            yield from _chain(child)
    else:
        yield net
