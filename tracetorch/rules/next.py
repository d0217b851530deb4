"""The memory of the next layer: one filter above, whatever kind of layer follows."""

from __future__ import annotations

from dataclasses import dataclass

from tracetorch.neurons import Neuron
from tracetorch.rules.above import Above, FixedDecay, ReadoutMemory, one_decay
from tracetorch.traces import OutputFilter


@dataclass(frozen=True)
class NextMemory(ReadoutMemory):
    """The membrane of the layer that a layer feeds directly, a readout or not: the filter of OTPE.

    Args:
        kappa: its decay per step; None to find that of the layer.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.otpe().above
        NextMemory(kappa=None, hops=0)
    """

    def filter(self, rule: str, neuron: Neuron, above: Above) -> OutputFilter | None:
        """Return the leaky filter; raise ValueError if the layer that follows has no single decay."""
        follower = above.follower
        if follower is None:
            return None
        if self.kappa is not None:
            return FixedDecay(self.kappa) if self.kappa else None
        return one_decay(rule, follower, "kappa")

    def agrees(self, above: Above, neuron: Neuron, consumer: Neuron) -> bool:
        """Return whether the consumer is the layer that was told to follow."""
        return not self.needs_network or above.follower is consumer
