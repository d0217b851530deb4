"""Check that layers run in the order that the network has told them, by the graph of their inputs."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracetorch.engine import Core
from tracetorch.neurons import Neuron, Readout
from tracetorch.rules import Rule

DEEPEST = 16
"""Number of modules of one input between two layers that the graph is followed through."""


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


def producer(x: Tensor) -> Producer | None:
    """Return the layer whose outputs an input is made of, through nodes of one input alone; None where none is met."""
    node: Any = x.grad_fn
    for _ in range(DEEPEST):
        if node is None:
            return None
        found: Producer | None = node.metadata.get("tracetorch")
        if found is not None:
            return found
        following = [
            n for n, _ in node.next_functions if n is not None and n.name() != "torch::autograd::AccumulateGrad"
        ]
        node = following[0] if len(following) == 1 else None
    return None


def check(neuron: Neuron, x: Tensor) -> None:
    """Raise RuntimeError where a layer below filters by another readout than the one that it feeds.

    Args:
        neuron: neuron of the layer that runs.
        x: its input with its graph.
    """
    if torch.compiler.is_compiling() or x.grad_fn is None:
        return
    below = producer(x)
    core = None if below is None else below.core()
    if below is None or core is None or below.rule.kappa is not None or isinstance(below.neuron, Readout):
        return
    follower = core.above.follower
    if follower is not neuron and (isinstance(follower, Readout) or isinstance(neuron, Readout)):
        known = "nothing" if follower is None else repr(follower)
        raise RuntimeError(
            f"rule {below.rule.name!r} filters a layer by the readout that it feeds: the network runs it into "
            f"{neuron!r}, but it was told {known}. Register the layers in the order in which they run and call "
            f"tt.reset(net) on the whole network, or tell the rule kappa=..."
        )
