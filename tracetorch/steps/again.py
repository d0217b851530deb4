"""A compiled step once more the general way, where its credit has come along ways that compiled steps do not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.engine import LayerState, Spec, run
from tracetorch.rules.above import Above
from tracetorch.traces.activity import Activity
from tracetorch.traces.autograd import credit_of
from tracetorch.traces.bank import Way
from tracetorch.traces.passing import Feed


@dataclass(frozen=True)
class Step:
    """A step that was done.

    Args:
        layer: the layer, as a module.
        above: what it was told is above it.
        state: what it carried before; None after a reset.
        x: the input, `[B, K]`, with its graph.
        feeds: how credit is sent to the layers that feed it.
    """

    layer: nn.Module
    above: Above
    state: LayerState | None
    x: Tensor
    feeds: tuple[Feed, ...]


def credit_again(
    step: Step, parts: Mapping[Way, Tensor], z_bar: Tensor
) -> tuple[Tensor | None, dict[int | str, Tensor | None]]:
    """Return what a step's cotangents give, by the way along which they came, and send their credit below.

    That is the input's cotangent and the gradients: of weights and biases by id, of neuron parameters by name.
    """
    layer: Any = step.layer
    spec: Spec = replace(layer.spec(), above=step.above.whole, activity=Activity())
    state, given = step.state, spec.parameters()
    if state is not None:
        state = replace(state.copied(), trace=spec.trace(tuple(state.s[0].shape[1:])), numbers=None)
    with torch.enable_grad():
        found = run(spec, state, step.x.unsqueeze(0), event=step.x, feeds=step.feeds)
    if found.received is not None:
        for way, part in parts.items():
            found.received.add(way, part)
    x_bar, grads = credit_of(found.last, z_bar)
    names: list[int | str] = [id(p) for p in given.all()[: len(given.all()) - len(given.learned)]]
    return x_bar, dict(zip([*names, *given.learned], grads, strict=True))
