"""Weights of eight bits in an exported network."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tracetorch.export.step import Step
from tracetorch.export.window import Window
from tracetorch.synapses.effective import effective_bias, effective_weight

Exported = TypeVar("Exported", Step, Window)
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Int8(nn.Module):
    r"""Compute with weights of eight bits and one scale per output channel.

    .. math:: W_{ij} \approx a_i\, n_{ij}, \qquad a_i = \max_j |W_{ij}| / 127, \quad n_{ij} \in \{-127, \dots, 127\}

    Args:
        module: `nn.Linear` or a convolution.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, module: nn.Linear | Convolution) -> None:
        super().__init__()
        weight, bias = effective_weight(module).detach(), effective_bias(module)
        largest = weight.abs().flatten(1).amax(1).reshape(-1, *[1] * (weight.dim() - 1))
        scale = torch.where(largest > 0, largest, torch.ones_like(largest)) / 127
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.shape = None if isinstance(module, nn.Linear) else _shape(module)

    def forward(self, x: Tensor) -> Tensor:
        """Return the currents, `[B, *unit]`."""
        weight = self.weight.to(self.scale.dtype) * self.scale
        if self.shape is None:
            return nn.functional.linear(x, weight, self.bias)
        current: Tensor = self.shape._conv_forward(x, weight, self.bias)
        return current


def _shape(module: Convolution) -> Convolution:
    """Return a convolution of the same stride, padding and groups without a weight."""
    kind: Any = next(kind for kind in KINDS if isinstance(module, kind))
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    found: Convolution = kind(**{name: getattr(module, name) for name in names}, bias=False, device="meta")
    found.register_parameter("weight", None)
    return found


def int8(module: Exported) -> Exported:
    r"""Return a copy of an exported network whose weights have eight bits, with one scale per output channel.

    .. math:: W_{ij} \approx a_i\, n_{ij}, \qquad a_i = \max_j |W_{ij}| / 127

    Weights of `nn.Linear` and of convolutions, in layers, recurrent synapses and elsewhere; biases, neurons and all
    other modules stay as they are, and so do currents and states. In a file the weights take a quarter of the space.
    Spikes near the threshold change: `tt.export.difference` counts them.

    Args:
        module: what `tt.export.step` or `tt.export.window` returned.

    Returns:
        The copy.

    Raises:
        ValueError: if the network has no such weights.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.LIF(half_life=5)))
        >>> small = tt.export.int8(tt.export.step(net))
        >>> small.net[0].synapse.weight.dtype
        torch.int8
    """
    twin = copy.deepcopy(module)
    count = 0
    for parent in list(twin.modules()):
        for name, child in parent.named_children():
            if isinstance(child, KINDS) and not isinstance(parent, Int8):
                setattr(parent, name, Int8(child))
                count += 1
    if not count:
        raise ValueError("the network has no nn.Linear and no convolution whose weights could have eight bits")
    return twin
