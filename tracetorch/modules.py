"""The modules of a network: their names, and how they are shown."""

from __future__ import annotations

import re

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


def folded(text: str, width: int = 90) -> str:
    """Return a module's representation with the arguments of a part one below the other where its line is long.

    Args:
        text: the representation.
        width: lines of at most so many letters stay as they are.

    Returns:
        The representation, with the same words in the same order.

    Example:
        >>> from tracetorch.modules import folded
        >>> print(folded("  (neuron): LIF(half_life=8, reset=SoftReset(gradient=False, decayed=True))", width=40))
          (neuron): LIF(
            half_life=8,
            reset=SoftReset(gradient=False, decayed=True)
          )
    """
    lines = []
    for line in text.splitlines():
        part = re.fullmatch(r"( *)(?:(\(\w+\): \w+\()(.*)\)|(\w+=.*))", line)
        if part is None or len(line) <= width:
            lines.append(line)
            continue
        indent, head, inside, alone = part.groups()
        margin = indent if head is None else indent + "  "
        below = margin + f",\n{margin}".join(arguments_of(inside or alone))
        lines += [below] if head is None else [indent + head, below, indent + ")"]
    return "\n".join(lines)


def arguments_of(text: str) -> list[str]:
    """Return the named arguments of a call, which commas outside of inner brackets part."""
    found, depth, begin = list[str](), 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if not depth and re.match(r", \w+=", text[at:]):
            found.append(text[begin:at])
            begin = at + 2
    return [*found, text[begin:]]
