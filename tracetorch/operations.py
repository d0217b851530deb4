"""Count the operations of synapses that a network's sparse activity asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from tracetorch.engine import Seen
from tracetorch.entry import require_network
from tracetorch.linking import layers
from tracetorch.synapses import Synapse


@dataclass
class Operations:
    """What a layer's synapses have done, recurrent ones included.

    Attributes:
        steps: number of steps, summed over the rows of the batch.
        dense: products of a weight and an input, zero or not.
        accumulates: additions of a weight that is not zero, for an input of 1 or -1.
        multiplies: products of a weight with an input, neither of them zero, in calls that have other inputs too.
        outputs: number of outputs.
        active: number of outputs that are not zero.
        weights: number of weights.
        connected: number of weights that are not zero, at the last call.

    Example:
        >>> import tracetorch as tt
        >>> counts = tt.Operations(steps=10, accumulates=120, outputs=100, active=5)
        >>> counts.effective / counts.steps, counts.activation_sparsity
        (12.0, 0.95)
    """

    steps: int = 0
    dense: int = 0
    accumulates: int = 0
    multiplies: int = 0
    outputs: int = 0
    active: int = 0
    weights: int = 0
    connected: int = 0

    @property
    def effective(self) -> int:
        """Synaptic operations: what is left where zero inputs and weights are skipped."""
        return self.accumulates + self.multiplies

    @property
    def activation_sparsity(self) -> float:
        """Share of the outputs that are zero."""
        return 1 - self.active / self.outputs if self.outputs else 0.0

    @property
    def connection_sparsity(self) -> float:
        """Share of the weights that are zero."""
        return 1 - self.connected / self.weights if self.weights else 0.0

    def __add__(self, other: Operations) -> Operations:
        """Return the sum of two layers' counts."""
        return Operations(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


@contextmanager
def count_operations(net: nn.Module) -> Iterator[dict[str, Operations]]:
    r"""Count synaptic operations and sparsity, layer by layer, while a network runs: steps, scans, training or not.

    .. math:: \sum_t \sum_{ij} [x_{j,t} \ne 0]\, [W_{ij} \ne 0]

    A convolution counts each position at which a weight meets an input; padding is no input. Modules between the layers
    are not counted. Counts are sums: `effective / steps` is the number of operations of one step of one sample.

    Source of the definitions: J. Yik et al., "The neurobench framework for benchmarking neuromorphic computing
    algorithms and systems" (2025), https://doi.org/10.1038/s41467-025-56739-4.

    Args:
        net: any module with layers in it.

    Yields:
        The counts by the layers' names, which grow while the block runs.

    Raises:
        TypeError: if the network is not a module.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=5)))
        >>> with tt.count_operations(net) as counts:
        ...     ys = tt.scan(net, torch.eye(3).unsqueeze(1))
        >>> counts["0"].dense, counts["0"].effective, counts["0"].steps
        (36, 12, 3)
    """
    require_network(net)
    found = {name: layer.core for name, layer in layers(net).items()}
    counts = {name: Operations() for name in found}
    watching = {name: partial(_see, counts[name]) for name in found}
    for name, core in found.items():
        core.watchers.append(watching[name])
    try:
        yield counts
    finally:
        for name, core in found.items():
            core.watchers.remove(watching[name])


@torch.no_grad()
def _see(counts: Operations, seen: Seen) -> None:
    counts.steps += seen.xs.shape[0] * seen.xs.shape[1]
    counts.outputs += seen.z.numel()
    counts.active += int(torch.count_nonzero(seen.z))
    inputs = [seen.xs]
    if seen.spec.recurrent is not None:
        inputs.append(seen.fed())
    counts.weights = counts.connected = 0
    for synapse, xs in zip(seen.spec.synapses, inputs, strict=True):
        _count(counts, synapse.plain(), xs, seen.z)


def _count(counts: Operations, synapse: Synapse, xs: Tensor, z: Tensor) -> None:
    weights = synapse.weights()
    counts.weights += sum(w.numel() for w in weights)
    counts.connected += sum(int(torch.count_nonzero(w)) for w in weights)
    binary = bool(((xs == 0) | (xs.abs() == 1)).all())
    for x in xs.to(weights[0].dtype).unbind(0):
        ones = torch.ones_like(synapse.like(x))
        # A weight's gradient, where all currents' cotangents are one, is the sum of the inputs that it meets.
        met = synapse.weight_grad(synapse.features((x != 0).to(x.dtype)), ones)
        every = synapse.weight_grad(synapse.features(torch.ones_like(x)), ones)
        counts.dense += sum(round(float(n.double().sum())) for n in every)
        done = sum(round(float((n * (w != 0)).double().sum())) for n, w in zip(met, weights, strict=True))
        if binary:
            counts.accumulates += done
        else:
            counts.multiplies += done
