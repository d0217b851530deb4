"""What is above a layer in its network, and the filter that a rule reads its outputs through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import Tensor

from tracetorch.backends import Filter
from tracetorch.neurons import Neuron, Readout, effective_parameters
from tracetorch.traces import OutputFilter
from tracetorch.traces.activity import Activity


@dataclass(frozen=True, eq=False)
class Stage:
    """A layer above another one, fed by it, with what it has been doing and what is above it in turn.

    Its rule distinguishes at most `groups` of units above it, 0 without a filter by those above, and credits a number
    of `hops` through its own recurrent synapse.
    """

    neuron: Neuron
    activity: Activity
    above: Above
    groups: int = 0
    hops: int = 0

    def same(self, other: Stage) -> bool:
        """Return whether it is the same layer at the same place."""
        if other is self:
            return True
        alike = self.activity is other.activity and self.neuron is other.neuron
        return alike and (self.groups, self.hops) == (other.groups, other.hops) and self.above.same(other.above)


@dataclass(frozen=True, eq=False)
class Above:
    """The layers above one layer: those that it feeds, with those above them.

    Args:
        stages: the layers that it feeds, in the order in which they run; none where nothing follows.
        known: whether the network has told the layer; a layer on its own does not know.
        executed: whether it was told as the network has run, and not as its layers are registered.
        itself: what the layer itself has been doing where it has a recurrent synapse, and so is above itself.
        past: whether the way past these layers is one of those that are distinguished, here and above.
    """

    stages: tuple[Stage, ...] = ()
    known: bool = False
    executed: bool = False
    itself: Activity | None = None
    past: bool = False
    all: tuple[Stage, ...] = field(init=False)
    """All layers above, each after the one that it is fed by, the nearest first."""

    def __post_init__(self) -> None:
        found = {id(s.activity): s for stage in self.stages for s in (stage, *stage.above.all)}
        object.__setattr__(self, "all", tuple(found.values()))

    @cached_property
    def whole(self) -> Above:
        """The same, where the ways past layers are distinguished."""
        stages = tuple(replace(stage, above=stage.above.whole) for stage in self.stages)
        return Above(stages, self.known, self.executed, self.itself, past=True)

    def same(self, other: Above) -> bool:
        """Return whether the same layers are above, in the same order."""
        if other is self:
            return True
        own, others = (self.known, self.executed), (other.known, other.executed)
        if own != others or self.itself is not other.itself or len(self.stages) != len(other.stages):
            return False
        return all(a.same(b) for a, b in zip(self.stages, other.stages, strict=True))

    @property
    def neurons(self) -> tuple[Neuron, ...]:
        """The neurons of all layers above."""
        return tuple(stage.neuron for stage in self.all)

    @property
    def follower(self) -> Neuron | None:
        """The neuron that the layer feeds first; None where there is none or it is not known."""
        return self.stages[0].neuron if self.stages else None

    @property
    def readout(self) -> Neuron | None:
        """The next readout; None where there is none or it is not known."""
        return next((stage.neuron for stage in self.all if isinstance(stage.neuron, Readout)), None)


@dataclass(frozen=True, eq=False)
class FixedDecay(OutputFilter):
    """A leaky filter whose decay per step the rule states."""

    decay: float

    def at(self, neuron: Neuron, like: Tensor) -> Filter:
        """Return the filter."""
        return Filter.leaky(like.new_full((), self.decay))


@dataclass(frozen=True, eq=False)
class ReadoutDecay(OutputFilter):
    """A leaky filter with the one decay of the readout above, as it is now."""

    readout: Neuron

    def at(self, neuron: Neuron, like: Tensor) -> Filter:
        """Return the filter."""
        decay = self.readout.decay
        return Filter.leaky(like.new_zeros(()) if decay is None else decay.detach().reshape(()).to(like, copy=True))


class Credited(ABC):
    """What of the layers above a layer its traces account for: the part of a rule that makes an output filter.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.eprop().above.needs_network, tt.rules.eprop(kappa=0.9).above.needs_network
        (True, False)
    """

    @property
    def hops(self) -> int:
        """Number of hops through a layer's own recurrent synapse, where it is above itself a step later."""
        return 0

    @property
    @abstractmethod
    def needs_network(self) -> bool:
        """Whether the layer has to know what is above it."""

    @property
    def groups(self) -> int:
        """Greatest number of groups of units in a layer above that are distinguished; 0 without a filter."""
        return 0

    @abstractmethod
    def filter(self, rule: str, neuron: Neuron, above: Above) -> OutputFilter | None:
        """Return the filter of a layer; None for none.

        Args:
            rule: the rule's name, for messages.
            neuron: the layer's neuron.
            above: what is above it.

        Returns:
            Where the filter comes from, or None.
        """

    def agrees(self, above: Above, neuron: Neuron, consumer: Neuron) -> bool:
        """Return whether a layer may feed another one, given what it was told is above it.

        Args:
            above: what the layer was told.
            neuron: the layer's neuron.
            consumer: the neuron of the layer that it feeds.

        Returns:
            Whether the two agree.
        """
        return True

    def apart(self, neuron: Neuron, above: Above) -> bool:
        """Return whether several filters are above a layer.

        Args:
            neuron: the layer's neuron.
            above: what is above it.

        Returns:
            Whether they do.
        """
        return self.hops > 0 and above.itself is not None


@dataclass(frozen=True)
class Present(Credited):
    """Nothing: a cotangent at a step is credited as one on the output of that step.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.sltt().above
        Present()
    """

    needs_network = False

    def filter(self, rule: str, neuron: Neuron, above: Above) -> OutputFilter | None:
        """Return None."""
        return None


@dataclass(frozen=True)
class ReadoutMemory(Credited):
    """The memory of the leaky readout that a layer feeds directly: e-prop's filter.

    Args:
        kappa: its decay per step; None to find the readout's.
        hops: number of hops through dense recurrence; 0 for e-prop, which has no path through recurrent spikes.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.eprop(kappa=0.9).above
        ReadoutMemory(kappa=0.9, hops=0)
    """

    kappa: float | None = None
    hops: int = 0

    def __post_init__(self) -> None:
        require_hops(self.hops)
        if self.kappa is not None and not 0 <= self.kappa <= 1:
            raise ValueError(f"kappa is a decay per step in [0, 1], got {self.kappa!r}")

    @property
    def needs_network(self) -> bool:
        """Whether the decay has to be found."""
        return self.kappa is None or self.hops > 0

    def filter(self, rule: str, neuron: Neuron, above: Above) -> OutputFilter | None:
        """Return the leaky filter; raise ValueError if the readout has no single decay."""
        follower = above.follower
        if isinstance(neuron, Readout) or (follower is not None and not isinstance(follower, Readout)):
            return None
        if self.kappa is not None:
            return FixedDecay(self.kappa) if self.kappa else None
        if follower is None:
            return None
        return one_decay(rule, follower, "kappa")

    def agrees(self, above: Above, neuron: Neuron, consumer: Neuron) -> bool:
        """Return whether the consumer is the readout that the filter is of, where there is one."""
        follower = above.follower
        either = isinstance(follower, Readout) or isinstance(consumer, Readout)
        return self.kappa is not None or isinstance(neuron, Readout) or follower is consumer or not either


def require_hops(hops: object) -> None:
    """Raise ValueError where a number of hops is none."""
    if isinstance(hops, bool) or not isinstance(hops, int) or hops < 0:
        raise ValueError(f"hops is a number of at least 0, got {hops!r}")


def one_decay(rule: str, readout: Neuron, argument: str) -> ReadoutDecay:
    """Return the filter of a readout's one decay; raise ValueError, with the rule's argument in it, if it has none."""
    decay = readout.decay
    if decay is None or decay.numel() > 1:
        raise ValueError(
            f"rule {rule!r} filters with its readout's one decay, but the readout {type(readout).__name__} has "
            f"{0 if decay is None else decay.numel()}; give the readout one decay, give the rule {argument}=..., or "
            f"take tt.rules.drtrl()"
        )
    return ReadoutDecay(readout)


def same_decay(first: Neuron | None, second: Neuron | None) -> bool:
    """Return whether two readouts filter alike: they are one, or have one and the same fixed decay."""
    if first is second or first is None or second is None:
        return first is second
    a, b = first.decay, second.decay
    fixed = not (effective_parameters(first) or effective_parameters(second))
    return a is not None and b is not None and fixed and a.numel() == b.numel() == 1 and bool(a == b)
