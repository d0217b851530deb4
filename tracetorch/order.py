"""Check that layers run in the order that the network has told them, by the graph of their inputs."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracetorch.engine import Core
from tracetorch.neurons import Neuron
from tracetorch.rules import Rule

MOST = 256
"""Number of nodes of the graph between two layers that are looked at."""


@dataclass(frozen=True, eq=False)
class Producer:
    """The layer whose outputs a tensor holds: its rule, its neuron, and what it knows of its network."""

    rule: Rule
    neuron: Neuron
    core: weakref.ref[Core]


def sign(out: Tensor, rule: Rule, neuron: Neuron, core: Core) -> None:
    """Note on the graph of a layer's outputs whose they are."""
    if torch.compiler.is_compiling():
        return
    node: Any = out.grad_fn
    if node is not None:
        node.metadata["tracetorch"] = Producer(rule, neuron, weakref.ref(core))


def producers(x: Tensor) -> list[Producer]:
    """Return the layers of whose outputs an input is made, the nearest on every path."""
    found: list[Producer] = []
    seen: set[Any] = set()
    nodes: list[Any] = [x.grad_fn]
    while nodes and len(seen) < MOST:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        producer: Producer | None = node.metadata.get("tracetorch")
        if producer is not None:
            found.append(producer)
        else:
            nodes += [n for n, _ in node.next_functions if n is not None]
    return found


def check(neuron: Neuron, x: Tensor) -> None:
    """Raise RuntimeError where a layer below filters by another readout than the one that it feeds.

    Args:
        neuron: neuron of the layer that runs.
        x: its input with its graph.
    """
    if torch.compiler.is_compiling() or x.grad_fn is None:
        return
    for below in producers(x):
        core = below.core()
        if core is None or below.rule.above.agrees(core.above, below.neuron, neuron):
            continue
        follower = core.above.follower
        known = "nothing" if follower is None else repr(follower)
        raise RuntimeError(
            f"rule {below.rule.name!r} filters a layer by what it feeds: the network runs it into {neuron!r}, but "
            f"it was told {known}. Register the layers in the order in which they run and call tt.reset(net) on the "
            f"whole network; a layer that feeds several others, or several heads, needs a rule that is told "
            f"its filter, tt.rules.eprop(kappa=...), or one without, tt.rules.drtrl()"
        )
