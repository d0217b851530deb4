"""A network with autograd's own graph through time in place of each layer: what exact credit is compared with."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

import tracetorch as tt


class Unrolled(nn.Module):
    """A layer that calls its synapse as a module and its neuron's step, and carries the whole graph.

    Args:
        layer: the layer whose parts it is made of.
    """

    def __init__(self, layer: tt.Layer) -> None:
        super().__init__()
        self.synapse, self.neuron = layer.synapse, layer.neuron
        self.s: tuple[Tensor, ...] | None = None

    def forward(self, x: Tensor) -> Tensor:
        current = self.synapse(x)
        if self.s is None:
            self.s = self.neuron.zeros(current.detach())
        s, z = self.neuron.step(self.neuron.pack(self.s), current)
        self.s = tuple(s)
        return z.clone()


def unrolled(net: nn.Module) -> nn.Module:
    """Return a copy of a network in which no layer is left."""
    net = copy.deepcopy(net)
    for module in list(net.modules()):
        for name, child in module._modules.items():
            if isinstance(child, tt.Layer):
                module._modules[name] = Unrolled(child)
    return net


def losses(ys: Tensor) -> Tensor:
    """Return one number whose cotangents differ from output to output."""
    weight = torch.randn(ys.shape, generator=torch.Generator().manual_seed(3), dtype=ys.dtype)
    return (ys * ys * weight + ys * weight).sum()


def learn(net: nn.Module, xs: Any, *, at_once: bool, before: Any = None) -> list[Tensor]:
    """Run a network step by step and return its outputs; gradients are left in the parameters.

    Args:
        net: the network.
        xs: the inputs.
        at_once: whether there is one backward after all steps, as the graph through time needs.
        before: called with the network and the step's number before each step.
    """
    ys, waiting = [], []
    for t, x in enumerate(xs):
        if before is not None:
            before(net, t)
        y = net(x)
        ys.append(y.detach().clone())
        waiting.append(losses(y) * (1 + t % 3))
        if not at_once:
            waiting.pop().backward()
    if waiting:
        torch.stack(waiting).sum().backward()
    return ys


def gradients(net: nn.Module) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in net.parameters()]
