"""Which layers of a network feed which: as they are registered, until a step has shown how they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tracetorch.neurons import Neuron
from tracetorch.rules.above import Above, Stage
from tracetorch.traces.activity import Activity


class LearnedError(RuntimeError):
    """A network runs otherwise than it was told; it knows from now on, and has to begin again."""


@dataclass(frozen=True, eq=False)
class Node:
    """A layer of a network, with what it has been doing and what it was told last to be above it.

    Its rule distinguishes at most `groups` of units above it, 0 where it sends credit as of now, and credits a number
    of `hops` through its recurrent synapse, if it is `recurrent`.
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

        The layer `below` has given outputs, and feeds one of another part.
        """
        whole = cls([node for part in parts for node in part.nodes.values()])
        for part in parts:
            whole.edges |= part.edges
            whole._seen |= part._seen  # whose values are replaced, never changed
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

    def ran(self, layer: Activity) -> Callable[[], None] | None:
        """Note that a layer gave outputs with a graph; return what forgets that, None where it was known."""
        if layer in self._ran:
            return None
        self._ran[layer] = None
        return partial(self._forget, layer, None)

    def saw(self, below: Activity, above: Activity) -> Callable[[], None] | None:
        """Note that a layer has fed another one; return what forgets that, None for nothing. A circle is refused."""
        fed = self._seen.get(below, [])
        if above in fed or above is below:  # what runs a layer twice in a step says so
            return None
        if self._leads(above, below):
            if self.filters:
                raise RuntimeError(_circle(self.nodes[above].neuron))
            return None
        self._seen[below] = [*fed, above]
        self.doubted = self.doubted or (self.filters and above not in self.edges[below])
        return partial(self._forget, below, above)

    def _leads(self, layer: Activity, goal: Activity) -> bool:
        """Return whether a layer, or one that it has fed, is the goal."""
        return layer is goal or any(self._leads(fed, goal) for fed in self._seen.get(layer, ()))

    def _forget(self, layer: Activity, fed: Activity | None) -> None:
        """Forget what a step has shown that was taken back."""
        if fed is None:
            self._ran.pop(layer, None)
        else:
            self._seen[layer] = [one for one in self._seen[layer] if one is not fed]
        self._checked = 0
        self.doubted = self.filters and any(set(fed) - set(self.edges[key]) for key, fed in self._seen.items())

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
                told = {key: [f for f in fed if not self._leads(f, key)] for key, fed in self.edges.items()}
                self.edges = told | {key: list(self._seen.get(key, ())) for key in self._ran}
            self._above = self._formed()
        return self._above

    def _formed(self) -> dict[Activity, Above]:
        found: dict[Activity, Above] = {}

        def of(key: Activity, below: tuple[Activity, ...]) -> Above:
            if key in below:
                raise RuntimeError(_circle(self.nodes[key].neuron))
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


def _circle(neuron: Neuron) -> str:
    return (
        f"the layers feed each other in a circle in one step ({neuron!r} is part of it): none stands above another; "
        f"detach what is fed back, or take tt.rules.drtrl()"
    )
