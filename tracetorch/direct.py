"""Direct feedback: the error at a network's end, or its target, reaches each layer through a fixed random matrix."""

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
        >>> y = net(torch.ones(1, 3))
        >>> y.shape, net.matrices[0].shape  # the output; the matrix that sends its error to the hidden layer
        (torch.Size([1, 2]), torch.Size([2, 4]))
        >>> torch.nn.functional.cross_entropy(y, torch.tensor([1])).backward()
        >>> hidden.synapse.weight.grad.shape
        torch.Size([4, 3])
    """

    def __init__(self, net: nn.Sequential, outputs: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.net, self.outputs = net, outputs
        self.matrices = nn.ParameterList()
        for layer in [module for module in chain(net) if isinstance(module, Layer)][1:]:
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
        return self._send(x, None)

    def _send(self, x: Tensor, signal: Tensor | None) -> Tensor:
        """Return the outputs; layers get a signal `[B, outputs]`, or the outputs' cotangents for None."""
        inputs: list[Tensor] = []
        first = True
        for module in chain(self.net):
            if isinstance(module, Layer) and not first:
                inputs.append(x)
                x = x.detach()
            first = first and not isinstance(module, Layer)
            x = module(x)
        out: Tensor = _Direct.apply(x, signal, *inputs, *self.matrices)
        return out


class TargetProjection(DirectFeedback):
    r"""Run a chain of layers, and send the target to each of them through a fixed random matrix: DRTP.

    .. math:: L^{(l)}_t = M_l^\top y^*_t, \qquad M_l \sim \mathcal N(0, \text{scale}^2 / n_\mathrm{out})

    It is `DirectFeedback` with the target instead of the error, so that a layer's signal is there before the layers
    above have run. The last layer learns from the loss. A step sends its signal where its output has a
    cotangent, and nothing with a target of zero. `tt.scan(net, (xs, targets))` runs a window.

    Source: C. Frenkel, M. Lefebvre, D. Bol, "Learning Without Feedback: Fixed Random Learning Signals Allow for
    Feedforward Training of Deep Neural Networks" (2021), https://doi.org/10.3389/fnins.2021.629892.

    Args:
        net: layers with dense synapses and modules between them; those between learn from the same signal.
        outputs: number of outputs of the network per sample, and of numbers in a target.
        scale: factor on the matrices' standard deviation.

    Raises:
        TypeError: if a layer above the first has no `nn.Linear` as its synapse.

    Example:
        >>> import torch, tracetorch as tt
        >>> from torch import nn
        >>> hidden = tt.Layer(nn.Linear(3, 4), tt.LIF(half_life=5), rule=tt.rules.ottt())
        >>> net = tt.TargetProjection(nn.Sequential(hidden, tt.Layer(nn.Linear(4, 2), tt.LI(half_life=5))), 2)
        >>> net((torch.ones(1, 3), torch.eye(2)[:1])).shape
        torch.Size([1, 2])
    """

    def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:  # type: ignore[override]
        """Advance by one time step.

        Args:
            x: input, `[B, *in]`, and the target that is sent to the layers, `[B, outputs]`; a class as one number that
                is 1, `one_hot`.

        Returns:
            The outputs, `[B, outputs]`.

        Raises:
            ValueError: if the target has another shape than the outputs.
        """
        seen, target = x
        if target.shape != (seen.shape[0], self.outputs):
            raise ValueError(
                f"a target is [batch, outputs], [{seen.shape[0]}, {self.outputs}] here, got {list(target.shape)}; "
                f"a class is torch.nn.functional.one_hot(label, {self.outputs}).float()"
            )
        return self._send(seen, target)


class _Direct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, signal: Tensor | None, *rest: Tensor) -> Tensor:
        count = len(rest) // 2
        ctx.shapes = [x.shape for x in rest[:count]]
        ctx.save_for_backward(signal, *rest[count:])
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        signal, *matrices = ctx.saved_tensors
        signal = bar if signal is None else signal.to(bar)
        sent = [(signal @ m.to(bar)).reshape(shape) for m, shape in zip(matrices, ctx.shapes, strict=True)]
        return (bar, None, *sent, *[None] * len(matrices))


def chain(net: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules of nested `nn.Sequential`s in order."""
    if isinstance(net, nn.Sequential):
        for child in net:
            yield from chain(child)
    else:
        yield net
