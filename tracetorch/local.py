"""Local losses: each layer learns from its own readout, and no credit passes between layers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from tracetorch.direct import chain
from tracetorch.layer import Layer
from tracetorch.network import reset
from tracetorch.neurons import Readout


class LocalOutputs(nn.Module):
    """Run a chain of layers, each on what the one below puts out, without its graph, and return what all put out.

    A loss on a layer's output credits that layer alone, with the modules between it and the one below. So it is the way
    to train each layer by a local loss, or by plasticity (`tt.rules.stdp`). `tt.scan` runs windows step by step.

    Args:
        net: layers and modules between them, nested in `nn.Sequential`.

    Example:
        >>> import torch, tracetorch as tt
        >>> from torch import nn
        >>> lower, upper = (tt.Layer(nn.Linear(3, 3), tt.LIF(half_life=5)) for _ in range(2))
        >>> [z.shape for z in tt.LocalOutputs(nn.Sequential(lower, upper))(torch.ones(2, 3))]
        [torch.Size([2, 3]), torch.Size([2, 3])]
    """

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Advance by one time step.

        Args:
            x: input, `[B, *in]`.

        Returns:
            The outputs of each layer, `[B, *unit]`, from the lowest to the topmost.
        """
        outputs: list[Tensor] = []
        for module in chain(self.net):
            x = module(x)
            if isinstance(module, Layer):
                outputs.append(x)
                x = x.detach()
        return tuple(outputs)


class LocalReadouts(LocalOutputs):
    r"""Run a chain of layers, and read each of them out through a fixed random matrix: DECOLLE.

    .. math:: y^{(l)}_t = G_l z^{(l)}_t, \qquad G_l \sim \mathcal N(0, \text{scale}^2 / n_l), \qquad
        L^{(l)}_t = G_l^\top \frac{\partial \mathcal L}{\partial y^{(l)}_t}

    Give each readout a loss and add them up: each layer learns from its own, and no credit passes between layers. What
    a layer does with its signal is its rule's; `tt.rules.drtrl()` makes it exact. A layer that does not spike, such as
    `tt.LI`, is its own readout. The matrices are parameters without gradient, in `state_dict`.

    Source: J. Kaiser, H. Mostafa, E. Neftci, "Synaptic Plasticity Dynamics for Deep Continuous Local Learning
    (DECOLLE)" (2020), https://doi.org/10.3389/fnins.2020.00424.

    Args:
        net: layers and modules between them, nested in `nn.Sequential`.
        outputs: number of outputs of each readout.
        x: an input of one step, `[B, *in]`, which shows how many outputs each layer has; nothing is changed by it.
        scale: factor on the matrices' standard deviation.

    Example:
        >>> import torch, tracetorch as tt
        >>> from torch import nn
        >>> hidden = [tt.Layer(nn.Linear(3, 4), tt.LIF(half_life=5)), tt.Layer(nn.Linear(4, 4), tt.LIF(half_life=5))]
        >>> net = tt.LocalReadouts(nn.Sequential(*hidden), 2, torch.ones(1, 3))
        >>> tt.set_rule(net, tt.rules.drtrl())
        >>> loss = sum(y.square().mean() for y in net(torch.ones(5, 3)))
        >>> loss.backward()
    """

    def __init__(self, net: nn.Sequential, outputs: int, x: Tensor, *, scale: float = 1.0) -> None:
        super().__init__(net)
        twin = copy.deepcopy(net)
        reset(twin)
        with torch.no_grad():
            sizes = [z.flatten(1) for z in LocalOutputs(twin)(x)]
        self.matrices = nn.ParameterList()
        for layer, z in zip([m for m in chain(net) if isinstance(m, Layer)], sizes, strict=True):
            if not isinstance(layer.neuron, Readout):
                drawn = torch.randn(outputs, z.shape[1]).to(layer.synapses[0].weights()[0]) * scale / z.shape[1] ** 0.5
                self.matrices.append(nn.Parameter(drawn, requires_grad=False))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Advance by one time step.

        Args:
            x: input, `[B, *in]`.

        Returns:
            The readouts, `[B, outputs]`, from that of the lowest layer to that of the topmost.
        """
        matrices = iter(self.matrices)
        neurons = [m.neuron for m in chain(self.net) if isinstance(m, Layer)]
        return tuple(
            z if isinstance(neuron, Readout) else z.flatten(1) @ next(matrices).to(z).t()
            for neuron, z in zip(neurons, super().forward(x), strict=True)
        )
