"""The first step of a sequence apart from the others, where it has to show which layers feed which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tracetorch.layer import Layer
from tracetorch.linking import layers
from tracetorch.rules import AllMemory
from tracetorch.rules.chains import cut
from tracetorch.trees import joined, leaves, mapped


def first_apart(net: nn.Module, xs: Any, run: Callable[[nn.Module, Any], Any]) -> Any:
    """Run a network over a window by `run`, its first step apart where that has to show which layers feed which.

    Where no window may follow another one, the network then begins again, and runs the whole window at once.
    """
    found = list(layers(net).values())
    fresh = all(layer.core.peek() is None for layer in found)
    unknown = [layer for layer in found if _unknown(layer)]
    if not unknown or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return run(net, xs)
    first = run(net, mapped(lambda x: x[:1], xs))
    if len(leaves(xs)[0]) == 1:
        return first
    for layer in unknown:
        layer.settle()
    if fresh and any(cut(layer.core.above, layer.rule.above.groups) for layer in unknown):
        began = object()
        for layer in found:
            layer.core.restart(began)
        return run(net, xs)
    return joined([first, run(net, mapped(lambda x: x[1:], xs))])


def _unknown(layer: Layer) -> bool:
    wiring = layer.core.wiring
    fresh = isinstance(layer.rule.above, AllMemory) and layer.core.peek() is None
    return fresh and wiring is not None and not wiring.executed
