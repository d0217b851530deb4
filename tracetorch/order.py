"""Check that layers run in the order that the network has told them, by the graph of their inputs."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tracetorch.neurons import Readout

if TYPE_CHECKING:
    from tracetorch.layer import Layer

DEEPEST = 16
"""Number of modules of one input between two layers that the graph is followed through."""


def sign(out: Tensor, layer: Layer) -> None:
    """Note on the graph of a layer's outputs whose they are."""
    if torch.compiler.is_compiling():
        return
    node: Any = out.grad_fn
    if node is not None:
        node.metadata["tracetorch"] = weakref.ref(layer)


def producer(x: Tensor) -> Layer | None:
    """Return the layer whose outputs an input is made of, through nodes of one input alone; None where none is met."""
    node: Any = x.grad_fn
    for _ in range(DEEPEST):
        if node is None:
            return None
        layer: weakref.ref[Layer] | None = node.metadata.get("tracetorch")
        if layer is not None:
            return layer()
        following = [
            n for n, _ in node.next_functions if n is not None and n.name() != "torch::autograd::AccumulateGrad"
        ]
        node = following[0] if len(following) == 1 else None
    return None


def check(layer: Layer, x: Tensor) -> None:
    """Raise RuntimeError where a layer below filters by another readout than the one that it feeds.

    Args:
        layer: the layer that runs.
        x: its input with its graph.
    """
    if torch.compiler.is_compiling() or x.grad_fn is None:
        return
    below = producer(x)
    if below is None or below.rule.kappa is not None or isinstance(below.neuron, Readout):
        return
    told, fed = below.follower, layer.neuron
    if told is not fed and (isinstance(told, Readout) or isinstance(fed, Readout)):
        known = "nothing" if told is None else repr(told)
        raise RuntimeError(
            f"rule {below.rule.name!r} filters a layer by the readout that it feeds: the network runs it into {fed!r}, "
            f"but it was told {known}. Register the layers in the order in which they run and call tt.reset(net) on "
            f"the whole network, or tell the rule kappa=..."
        )
