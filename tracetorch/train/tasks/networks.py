"""The network that most tasks share: layers of LIF neurons under a leaky readout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

import tracetorch as tt


def stack(
    sizes: Sequence[int],
    *,
    half_life: Any,
    readout_half_life: float,
    recurrent: bool = False,
    input_scale: float = 1.0,
) -> nn.Sequential:
    """Build dense layers of LIF neurons, then leaky integrators, of sizes from the inputs to the classes.

    Half-lives are in steps; `input_scale` multiplies the first layer's first weights, of torch's default.

    >>> len(stack([8, 16, 16, 10], half_life=8.0, readout_half_life=16.0))
    3
    """
    *hidden, classes = sizes
    layers: list[nn.Module] = []
    for inputs, units in pairwise(hidden):
        synapse = nn.Linear(inputs, units)
        if not layers:
            with torch.no_grad():
                synapse.weight.mul_(input_scale)
        loop = nn.Linear(units, units, bias=False) if recurrent else None
        layers.append(tt.Layer(synapse, tt.LIF(half_life=half_life), recurrent=loop))
    readout = tt.Layer(nn.Linear(hidden[-1], classes), tt.LI(half_life=readout_half_life))
    return nn.Sequential(*layers, readout)


def freeze_hidden(net: nn.Module) -> None:
    """Stop the learning of every `tt.Layer` but the last, synapse, recurrence and neuron."""
    for layer in list(tt.layers(net).values())[:-1]:
        layer.requires_grad_(False)
