r"""The filters above a layer: one for each way in which what it gives out is remembered.

A way leads from layer to layer; where the units of a layer have responses of their own it goes through one of their
groups. Its filter is the chain of the mean responses on it:

.. math:: F_g = F_{\text{above}} \circ \bar r_g

Layers whose units take several currents send credit back by their own Jacobians inside a window. Above such a layer's
feeder stand then a way without memory, and those of what crosses the window's start (`tracetorch.traces.across`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from tracetorch.backends import Filter
from tracetorch.neurons import Neuron, Readout
from tracetorch.rules.above import Above, Credited, Stage, require_hops
from tracetorch.traces import OutputFilter
from tracetorch.traces.across import crossing
from tracetorch.traces.across import poles as poles_of
from tracetorch.traces.activity import Activity
from tracetorch.traces.bank import NO_WAY, PAST, Bank, Way, beside, crossings, hopping
from tracetorch.traces.response import groups_of, mean_responses

Routed = tuple[Mapping[Way, tuple[Way, ...]], Tensor | None, Tensor | None]
"""For each way of a layer that sends credit the ways here, by the groups of its units; the group of each; its pole."""


def inside(neuron: Neuron) -> bool:
    """Return whether a layer of a neuron sends credit back by its own Jacobians inside a window."""
    return len(neuron.currents) > 1


def measured(neuron: Neuron) -> bool:
    """Return whether the mean response of a layer of a neuron is measured where it is above another."""
    return not inside(neuron) and not neuron.is_constant(shared=False)


def poles(stage: Stage, most: int) -> Tensor | None:
    """Return the pole of each unit of a layer, fixed for the sequence; None where nothing crosses a window's start."""
    if not (inside(stage.neuron) and stage.groups):
        return None
    return stage.activity.groups(most, lambda: poles_of(stage.neuron, most))


def cut(above: Above, most: int) -> Neuron | None:
    """Return a neuron above of which no filter stands for what crosses a window's start; None where there is none."""
    if not any(map(inside, above.neurons)):
        return None
    for stage in above.stages:
        inner = stage.groups if inside(stage.neuron) else _told_apart(stage, count(stage, most), most)
        if inside(stage.neuron) and stage.groups and poles(stage, most) is None:
            return stage.neuron
        found = cut(stage.above, inner) if inner else None
        if found is not None:
            return found
    return None


def groups(stage: Stage, most: int) -> Tensor | None:
    """Return the group of each unit of a layer, fixed for the sequence; None for one."""
    if inside(stage.neuron):
        return None
    return stage.activity.groups(most, lambda: groups_of(stage.neuron, most))


def count(stage: Stage, most: int) -> int:
    """Return the number of groups of a layer's units."""
    if inside(stage.neuron):
        return 1
    return stage.activity.count(most, lambda: groups_of(stage.neuron, most))


def ways(above: Above, most: int) -> list[Way]:
    """Return the ways above a layer whose rule tells a number of groups apart; none where nothing is above.

    Where the units of a layer are distinguished, the way goes on from it through the means of all layers above.
    """
    found = [PAST] if above.past and above.stages else []
    for i, stage in enumerate(above.stages):
        parts = count(stage, most)
        beyond = own_ways(stage, most if inside(stage.neuron) else _told_apart(stage, parts, most))
        for part in range(parts):
            found += [((i, *path), part if parts > 1 else inner) for path, inner in beyond]
    return found


def own_ways(stage: Stage, most: int) -> list[Way]:
    """Return the ways by which a layer's own credit comes: one where its rule sends credit as of now.

    For one of several currents these are one, and those of what crosses a window's start for a layer below.
    """
    if inside(stage.neuron):
        return [*hopping([NO_WAY], 0), *crossings(_crossing(stage, most))]
    return hopping((ways(stage.above, most) if most else []) or [NO_WAY], stage.hops)


def bank(above: Above, most: int, like: Tensor) -> Bank | None:
    """Return the filters of the ways above a layer, in their order; None where nothing is above."""
    found = [Bank.through(like)] if above.past and above.stages else []
    for stage in above.stages:
        if inside(stage.neuron):
            pole = poles(stage, most)
            inner = None if pole is None else bank(stage.above, stage.groups, like)
            found.append(Bank.through(like) if pole is None else crossing(stage.neuron, pole, inner, like))
            continue
        group = groups(stage, most)
        responses = mean_responses(stage.neuron, like, stage.activity.blocks, group)
        inner = _beyond(stage, _told_apart(stage, len(responses), most), like)
        found += [Bank.of(r) if inner is None else inner.behind(r) for r in responses]
    return beside(found) if found else None


def _beyond(stage: Stage, most: int, like: Tensor) -> Bank | None:
    found: Bank | None = None
    if most:
        found = bank(stage.above, most, like)
    else:
        for one in reversed(_first(stage.above)):
            if inside(one.neuron):
                continue
            (response,) = mean_responses(one.neuron, like, one.activity.blocks)
            found = Bank.of(response) if found is None else found.behind(response)
    return hopped(found, stage.neuron, stage.activity, stage.hops, like) if stage.hops else found


def hopped(found: Bank | None, neuron: Neuron, activity: Activity, hops: int, like: Tensor) -> Bank:
    """Return filters above a layer once more for each hop through its recurrent synapse, by the mean of its units."""
    (own,) = mean_responses(neuron, like, activity.blocks)
    return (Bank.through(like) if found is None else found).hopped(own, hops)


def _told_apart(stage: Stage, parts: int, most: int) -> int:
    """Return how many groups the layers above a stage are distinguished in, below it; 0 for one way without any."""
    return min(1, stage.groups) if parts > 1 or most == 1 else stage.groups


def _first(above: Above) -> list[Stage]:
    """Return the layers above, through the first that each feeds."""
    found: list[Stage] = []
    while above.stages:
        found.append(above.stages[0])
        above = above.stages[0].above
    return found


def route(above: Above, fed: Stage, most: int) -> Routed:
    """Return along which way above a layer the credit goes that a layer sends which it feeds.

    `above` is what is above the layer that gets it, `most` the number of groups that its rule distinguishes; `fed`
    sends it. For each way above the sender it is the way of the receiver, for each group of the sender's units,
    none if the receiver has no filter for it; then the group of each unit, and its pole.
    """
    place, parts = above.stages.index(fed), count(fed, most)
    if inside(fed.neuron):
        alone = {(path, inner): (((place, *path), inner),) for path, inner in own_ways(fed, most)}
        return alone, None, poles(fed, most)
    found, own = {}, set(ways(above, most))
    for path, inner in own_ways(fed, fed.groups):
        group = inner if most > 1 else -1
        each = tuple(((place, *path), part if parts > 1 else group) for part in range(parts))
        found[path, inner] = each if own.issuperset(each) else ()
    return found, groups(fed, most), None


@dataclass(frozen=True, eq=False)
class MeanResponses(OutputFilter):
    """The chains of the mean responses of all layers above, as they are now.

    Units of a layer are distinguished in `most` groups at most; the rule's name is for messages.
    """

    rule: str
    above: Above
    most: int

    normalized = True  # a cotangent is one on the output over its response to ones

    def why_whole(self) -> str:
        """Return why no window may begin after another one: no filter stands for what crosses over."""
        neuron = cut(self.above, self.most)
        if neuron is None:
            return ""
        return (
            f"rule {self.rule!r} credits what a layer below {neuron._get_name()} did before this window by one filter "
            f"for each different pole of the units above, and has none here: there are more than buckets={self.most}, "
            f"or they are not linear. Give the whole sequence to one tt.scan after tt.reset(net), in which credit is "
            f"exact; for linear units (tt.LRU) take cascade(buckets=...) with as many as there are units; or take "
            f"tt.rules.traced_bptt(), which drops what crosses between layers, or tt.rules.drtrl()"
        )

    @cached_property
    def states(self) -> int:
        """M, the number of the filters' states."""
        return _states(self.above, self.most)

    @property
    def outputs(self) -> int:
        """G, the number of filters."""
        return len(self.ways)

    @cached_property
    def ways(self) -> tuple[Way, ...]:
        """The ways along which credit comes."""
        return tuple(ways(self.above, self.most))

    @cached_property
    def whole(self) -> MeanResponses:
        """The filters of the same states with the ways past the layers too."""
        return self if self.above.past else MeanResponses(self.rule, self.above.whole, self.most)

    def route(self, activity: Activity) -> Routed | None:
        """Return how a layer above, known by what it has been doing, sends its credit; None where it is none of them.

        That is the way here of each of its ways and groups of units; the group of each unit, and its pole.
        """
        if activity not in self._routes:
            whole = self.whole.above
            stage = next((stage for stage in whole.stages if stage.activity is activity), None)
            self._routes[activity] = None if stage is None else route(whole, stage, self.most)
        return self._routes[activity]

    @cached_property
    def _routes(self) -> dict[Activity, Routed | None]:
        return {}

    def at(self, neuron: Neuron, like: Tensor) -> Filter:
        """Return the filter."""
        found = bank(self.above, self.most, like)
        return Filter.leaky(like.new_zeros(())) if found is None else found.only

    def bank(self, neuron: Neuron, like: Tensor) -> Bank | None:
        """Return the filters where there are several."""
        return bank(self.above, self.most, like) if self.outputs > 1 else None


@dataclass(frozen=True, eq=False)
class Hopped(OutputFilter):
    """What is above a layer, once more for each hop through its own recurrent synapse.

    `itself` is what the layer has been doing, `count` the number of hops, `size` S, the number of its neuron's states.
    """

    above: OutputFilter | None
    itself: Activity
    count: int
    size: int

    @property
    def hops(self) -> int:
        """Number of hops through the layer's own recurrent synapse that are credited."""
        return self.count

    @property
    def normalized(self) -> bool:
        """Whether cotangents are ones on the output of the filters above over their response to ones."""
        return self.above is not None and self.above.normalized

    @property
    def states(self) -> int:
        """M, the number of the filters' states: S and that of a delay for each filter above and hop."""
        above = 0 if self.above is None else self.above.states
        return above + self.count * (1 + self.size) * (self.outputs // (self.count + 1))

    @property
    def outputs(self) -> int:
        """G, the number of filters."""
        return (self.count + 1) * (1 if self.above is None else self.above.outputs)

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways along which credit comes from outside."""
        return (NO_WAY,) if self.above is None else self.above.ways

    @property
    def whole(self) -> OutputFilter | None:
        """Itself: with hops its states are those of all ways; None where credit is not read by ways."""
        return None if self.above is None or self.above.whole is None else self

    def route(self, activity: Activity) -> Routed | None:
        """Return how a layer above sends its credit; see `MeanResponses`."""
        return self.above.route(activity) if isinstance(self.above, MeanResponses) else None

    def why_whole(self) -> str:
        """Return why no window may begin after another one; empty where one may."""
        return "" if self.above is None else self.above.why_whole()

    def at(self, neuron: Neuron, like: Tensor) -> Filter:
        """Return the states of all filters, with the output of the first."""
        return self.bank(neuron, like).only

    def bank(self, neuron: Neuron, like: Tensor) -> Bank:
        """Return the filters, those of no hop first."""
        found = None if self.above is None else self.above.bank(neuron, like)
        if found is None and self.above is not None:
            found = Bank.of(self.above.at(neuron, like))
        return hopped(found, neuron, self.itself, self.count, like)


def _states(above: Above, most: int) -> int:
    total = 0
    for stage in above.stages:
        if inside(stage.neuron):
            total += _crossing(stage, most)
            continue
        parts = count(stage, most)
        inner = _told_apart(stage, parts, most)
        through = [s.neuron for s in _first(stage.above) if not inside(s.neuron)]
        beyond = _states(stage.above, inner) if inner else sum(len(neuron.state) for neuron in through)
        own = len(own_ways(stage, inner)) // (stage.hops + 1)
        beyond += stage.hops * (1 + len(stage.neuron.state)) * own
        total += parts * (len(stage.neuron.state) + beyond)
    return total


def _crossing(stage: Stage, most: int) -> int:
    """Return the number of states of the filters for what crosses a window's start through a layer."""
    pole = poles(stage, most)
    if pole is None:
        return 0
    of_each = len(stage.neuron.state) * (1 + _states(stage.above, stage.groups))
    return stage.activity.count(most, lambda: pole) * of_each


@dataclass(frozen=True)
class AllMemory(Credited):
    """The memory of all layers above: the chains of their mean responses.

    Args:
        buckets: number of filters at most for the units of one layer above; with fewer different responses among its
            units each has its own, with more they are grouped by their time constants.
        hops: number of hops through dense recurrence; 0 for none.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.cascade().above
        AllMemory(buckets=4, hops=0)
    """

    buckets: int = 4
    hops: int = 0

    def __post_init__(self) -> None:
        require_hops(self.hops)
        if isinstance(self.buckets, bool) or not isinstance(self.buckets, int) or self.buckets < 1:
            raise ValueError(f"buckets is a number of at least 1, got {self.buckets!r}")

    needs_network = True

    @property
    def groups(self) -> int:
        """The number of buckets."""
        return self.buckets

    def apart(self, neuron: Neuron, above: Above) -> bool:
        """Return whether several filters are above a layer."""
        return super().apart(neuron, above) or (not isinstance(neuron, Readout) and len(ways(above, self.buckets)) > 1)

    def filter(self, rule: str, neuron: Neuron, above: Above) -> OutputFilter | None:
        """Return the chains of what is above; None where there is nothing."""
        hopped = any(stage.hops for stage in above.all) or (self.hops > 0 and above.itself is not None)
        return MeanResponses(rule, above.whole if hopped else above, self.buckets) if above.stages else None

    def agrees(self, above: Above, neuron: Neuron, consumer: Neuron) -> bool:
        """Return whether the consumer is one of the layers that were told to follow."""
        return any(stage.neuron is consumer for stage in above.stages)
