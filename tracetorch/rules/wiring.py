"""Which layers of a network feed which: as they are registered, until a step has shown how they run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.neurons import Neuron
from tracetorch.rules.above import Above, Stage
from tracetorch.traces.activity import Activity


@dataclass(frozen=True, eq=False)
class Node:
    """A layer of a network.

    Args:
        neuron: its neuron.
        activity: what it has been doing.
        groups: number of groups of units that its rule distinguishes above it; 0 where it sends credit as of now.
        above: what it was told last.
        hops: number of hops through its recurrent synapse that its rule credits.
        recurrent: whether it has one.
    """

    neuron: Neuron
    activity: Activity
    groups: int
    above: Above
    hops: int = 0
    recurrent: bool = False


class Wiring:
    """Which layers of a network feed which, by the activity of each, which belongs to it alone.

    Args:
        nodes: the layers, in the order of registration.

    Attributes:
        executed: whether `edges` are how the network has run; else each layer feeds the next.
        doubted: whether the step that runs has shown that they are not; what they are is known when it is over.
        edges: the layers that each one feeds.
        version: number of times that any of it has changed.
    """

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = {node.activity: node for node in nodes}
        self.executed = all(node.above.executed and self._has(node.above) for node in nodes)
        self.version, self.doubted = 0, False
        self._seen: dict[Activity, list[Activity]] = {}
        self._ran: dict[Activity, None] = {}
        self._checked = 0
        self._above: dict[Activity, Above] | None = None
        keys = list(self.nodes)
        chain = {key: [keys[i + 1]] if i + 1 < len(keys) else [] for i, key in enumerate(keys)}
        told = {node.activity: [s.activity for s in node.above.stages] for node in nodes}
        self.edges = told if self.executed else chain

    @classmethod
    def joined(cls, parts: list[Wiring], below: Activity) -> Wiring:
        """Return the wiring of a network of parts that did not know of each other, as its first step has shown it.

        Args:
            parts: the wirings of the parts.
            below: the layer that has given outputs, and feeds one of another part.

        Returns:
            The wiring.
        """
        whole = cls([node for part in parts for node in part.nodes.values()])
        for part in parts:
            whole.edges |= part.edges
            whole._seen |= part._seen
            whole._ran |= part._ran
        whole.executed, whole.version = True, 1
        whole.ran(below)
        return whole

    def _has(self, above: Above) -> bool:
        return all(stage.activity in self.nodes for stage in above.all)

    def renew(self, node: Node) -> None:
        """Take up another rule, or another neuron, of one of the layers."""
        if not self._is_own(node):
            self.nodes[node.activity] = node
            self._above = None
            self.version += 1

    def _is_own(self, node: Node) -> bool:
        own, kind = self.nodes.get(node.activity), (node.groups, node.hops, node.recurrent)
        return own is not None and own.neuron is node.neuron and (own.groups, own.hops, own.recurrent) == kind

    def same(self, nodes: list[Node]) -> bool:
        """Return whether these are the layers, as they are; in whatever order where that has no meaning any more."""
        ordered = self.executed or list(self.nodes) == [node.activity for node in nodes]
        return ordered and len(nodes) == len(self.nodes) and all(map(self._is_own, nodes))

    @property
    def filters(self) -> bool:
        """Whether a layer's rule filters by all above it."""
        return any(node.groups for node in self.nodes.values())

    def begin(self) -> None:
        """Begin a new sequence."""
        self.above()
        self._seen, self._ran, self._checked, self.doubted = {}, {}, 0, False

    def ran(self, layer: Activity) -> None:
        """Note that a layer gave outputs with a graph."""
        self._ran[layer] = None

    def saw(self, below: Activity, above: Activity) -> None:
        """Note that a layer has fed another one."""
        fed = self._seen.setdefault(below, [])
        if above not in fed:
            fed.append(above)
            if self.filters and above not in self.edges[below]:
                self.doubted = True

    def unsee(self, layer: Activity) -> None:
        """Forget what a layer has shown in a first step that was taken back."""
        self._ran.pop(layer, None)
        self._seen.pop(layer, None)

    def proven(self, layer: Activity) -> bool:
        """Return whether layers fed those that they were told; asked as the first that ran begins its second step."""
        if self.doubted:
            return False
        leads = next((key for key in self._ran if self.nodes[key].groups), None) is layer
        if not leads or self._checked == len(self._ran):
            return True
        self._checked = len(self._ran)
        return all(map(self._edges_seen, self._ran))

    def over(self) -> None:
        """Take up what the sequence that is over has shown."""
        if self.doubted or (self.filters and not self.executed and not all(map(self._edges_seen, self._ran))):
            self.execute()

    def _edges_seen(self, key: Activity) -> bool:
        return set(self.edges[key]) == set(self._seen.get(key, ()))

    def execute(self) -> None:
        """Take up how the network runs in this step, once the step is over."""
        self.doubted = False
        if self._above is not None or not self.executed:
            self.executed, self._above = True, None
            self.version += 1

    def fed(self, layer: Activity, order: list[Activity]) -> Tensor:
        """Return the places in an order of the layers that a layer feeds."""
        return torch.tensor([order.index(key) for key in self.edges[layer] if key in order], dtype=torch.int64)

    def take(self, edges: dict[Activity, list[Activity]], *, executed: bool) -> None:
        """Take up which layers each one feeds."""
        self.begin()
        self.edges, self.executed, self._above = edges, executed, None
        self.version += 1

    def above(self) -> dict[Activity, Above]:
        """Return what is above each layer."""
        if self._above is None:
            if self.version:
                self.edges |= {key: list(self._seen.get(key, ())) for key in self._ran}
            self._above = self._formed()
        return self._above

    def _formed(self) -> dict[Activity, Above]:
        found: dict[Activity, Above] = {}

        def of(key: Activity, below: tuple[Activity, ...]) -> Above:
            if key in below:
                raise RuntimeError(
                    f"the layers feed each other in a circle in one step ({self.nodes[key].neuron!r} is part of it): "
                    f"none stands above another; detach what is fed back, or take tt.rules.drtrl()"
                )
            if key not in found:
                nodes = [self.nodes[fed] for fed in self.edges[key]]
                stages = (
                    Stage(n.neuron, n.activity, of(n.activity, (*below, key)), n.groups, n.hops if n.groups else 0)
                    for n in nodes
                )
                own = self.nodes[key]
                itself = own.activity if own.recurrent else None
                found[key] = Above(tuple(stages), True, self.executed, itself)
            return found[key]

        for key in self.nodes:
            of(key, ())
        return found
