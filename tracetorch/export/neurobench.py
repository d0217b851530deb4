"""A network as NeuroBench measures it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tracetorch.export.cell import Cell
from tracetorch.export.step import step
from tracetorch.neurons import Readout
from tracetorch.ops.require import require

if TYPE_CHECKING:
    from neurobench.models import NeuroBenchModel


def to_neurobench(net: nn.Module) -> NeuroBenchModel:
    """Return a network as a model of NeuroBench, for its ``Benchmark`` and all of its metrics.

    The model runs a copy of the network, in evaluation mode (`tracetorch.export.step`), from a reset, on batches
    ``[B, T, *in]``, and gives ``[B, T, *out]``. Each synapse is a connection, each layer whose neurons spike an
    activation; the membrane of a readout is none.

    Source: J. Yik et al., "The neurobench framework for benchmarking neuromorphic computing algorithms and systems"
    (2025), https://doi.org/10.1038/s41467-025-56739-4.

    Args:
        net: any module with layers in it, whose forward takes and returns one tensor.

    Returns:
        The model; ``tracetorch.count_operations`` gives the same counts, layer by layer, without NeuroBench.

    Raises:
        ImportError: NeuroBench is not installed.
        ValueError: the network has no layers.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.LIF(half_life=5)))
        >>> to_neurobench(net)(torch.ones(4, 10, 3)).shape  # doctest: +SKIP
        torch.Size([4, 10, 2])
    """
    models = require("neurobench.models")
    module = step(net)

    class Model(models.NeuroBenchModel):  # type: ignore[misc,name-defined]
        """The network's steps, with what NeuroBench hooks."""

        def __call__(self, batch: Tensor) -> Tensor:
            """Run sequences from a reset."""
            outputs, state = [], None
            with torch.no_grad():
                for x in batch.unbind(1):
                    y, state = module.first(x) if state is None else module(x, state)
                    outputs.append(y)
            return torch.stack(outputs, 1)

        def __net__(self) -> nn.Module:
            """Return the copy, whose modules are called in every step."""
            return module

        def activation_layers(self) -> list[dict[str, Any]]:
            """Return the layers that spike."""
            return [
                {"layer_name": name, "layer": part}
                for name, part in module.named_modules()
                if isinstance(part, Cell) and not isinstance(part.neuron, Readout)
            ]

    return Model()
