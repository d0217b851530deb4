"""The modules of a network."""

from __future__ import annotations

from torch import nn


def named_modules(net: nn.Module) -> dict[nn.Module, str]:
    """Return every module of a network, each once, with its name, as `net.named_modules()` does and in its order.

    A window asks for them several times; torch's own, a generator within a generator for each level, takes several
    times as long.
    """
    found: dict[nn.Module, str] = {}
    left = [("", net)]
    while left:
        name, module = left.pop()
        if module in found:
            continue
        found[module] = name
        children = module._modules
        if children:
            prefix = name and name + "."
            left += [(prefix + key, child) for key, child in [*children.items()][::-1] if child is not None]
    return found
