"""What stands above a layer in its network, and the filter that a rule reads its outputs through."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tracetorch.backends import Filter
from tracetorch.neurons import Neuron, Readout
from tracetorch.traces import OutputFilter


@dataclass(frozen=True, eq=False)
class Above:
    """The neurons of the layers above one layer, in the order in which its outputs reach them.

    Args:
        neurons: the neurons, the nearest first; empty where nothing follows.
        known: whether the network has told the layer; a layer on its own does not know.
    """

    neurons: tuple[Neuron, ...] = ()
    known: bool = False

    @property
    def follower(self) -> Neuron | None:
        """The neuron that the layer feeds directly; None where there is none or it is not known."""
        return self.neurons[0] if self.neurons else None

    @property
    def readout(self) -> Neuron | None:
        """The next readout; None where there is none or it is not known."""
        return next((n for n in self.neurons if isinstance(n, Readout)), None)


@dataclass(frozen=True, eq=False)
class FixedDecay(OutputFilter):
    """A leaky filter whose decay the rule states.

    Args:
        decay: per step.
    """

    decay: float

    def at(self, neuron: Neuron, like: Tensor) -> Filter:
        """Return the filter."""
        return Filter.leaky(like.new_full((), self.decay))


@dataclass(frozen=True, eq=False)
class ReadoutDecay(OutputFilter):
    """A leaky filter with the decay of the readout above, as it is now.

    Args:
        readout: the readout; None for the layer's own neuron.
    """

    readout: Neuron | None

    def at(self, neuron: Neuron, like: Tensor) -> Filter:
        """Return the filter."""
        source = neuron if self.readout is None or self.readout.decay is None else self.readout
        decay = source.decay
        return Filter.leaky(like.new_ones(()) if decay is None else decay.detach().mean().to(like))


def kappa_filter(rule: str, kappa: float | None, neuron: Neuron, above: Above) -> OutputFilter | None:
    """Return the filter through which e-prop reads a layer that feeds a leaky readout directly.

    Args:
        rule: the rule's name, for messages.
        kappa: the decay that the rule states; None to find the readout's, 0 for no filter.
        neuron: the layer's neuron.
        above: what stands above it.

    Raises:
        ValueError: if the readout has no single decay.
    """
    follower = above.follower
    if kappa == 0 or isinstance(neuron, Readout) or (follower is not None and not isinstance(follower, Readout)):
        return None
    if kappa is not None:
        return FixedDecay(kappa)
    if follower is None:
        return None
    decay = follower.decay
    if decay is None or decay.numel() > 1:
        raise ValueError(
            f"rule {rule!r} filters a layer's eligibility with its readout's one decay, but the readout "
            f"{type(follower).__name__} has {0 if decay is None else decay.numel()}; give the readout one decay, "
            f"tell the rule kappa=..., or take tt.rules.drtrl()"
        )
    return ReadoutDecay(follower)
