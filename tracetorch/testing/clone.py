"""Copy a network without its stream: its own parameters, or the same ones behind another kind of layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tracetorch.layer import Layer
from tracetorch.linking import layers
from tracetorch.rules.rule import Rule


def clone(net: nn.Module, *, rule: Rule | None = None, dtype: torch.dtype | None = None) -> nn.Module:
    """Copy a network with its own parameters and no state, whatever its stream is doing.

    Parameters and modules that are shared in the network are shared in the copy.

    Args:
        net: the network; it is not touched.
        rule: the rule of every layer of the copy; None keeps each layer's own.
        dtype: floating point type of the copy; None keeps the network's.

    Returns:
        The copy, after a reset.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.testing import clone
        >>> layer = tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5))
        >>> _ = layer(torch.ones(1, 3))
        >>> clone(layer).state is None
        True
    """
    memo: dict[int, Any] = {}

    def again(layer: Layer) -> nn.Module:
        synapse, neuron = copy.deepcopy(layer.synapse, memo), copy.deepcopy(layer.neuron, memo)
        recurrent = copy.deepcopy(layer.recurrent, memo)
        twin = Layer(synapse, neuron, recurrent=recurrent, rule=layer.rule if rule is None else rule)
        theirs, ours = getattr(layer, "feedback", None), getattr(twin, "feedback", None)
        if theirs is not None and ours is not None and theirs.shape == ours.shape:
            ours.data.copy_(theirs.data)
        twin.core.options_of(layer.core)
        return twin.train(layer.training)

    twin = replace_layers(net, again, memo)
    return twin if dtype is None else twin.to(dtype)


def replace_layers(net: nn.Module, make: Callable[[Layer], nn.Module], memo: dict[int, Any]) -> nn.Module:
    """Copy a network with something else instead of every layer; of one layer it is the replacement itself.

    `memo` is what `copy.deepcopy` takes as copied already: a parameter in it is shared.
    """
    for layer in layers(net).values():
        memo[id(layer)] = make(layer)
    return copy.deepcopy(net, memo)
