"""Graphs of NIR as flat, ordered lists of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracetorch.interop.errors import NotCarriedOverError

NEURONS = ("LIF", "IF", "LI", "CubaLIF")
SYNAPSES = ("Linear", "Affine", "Conv1d", "Conv2d")


@dataclass(frozen=True)
class Flat:
    """A graph without graphs inside and without recurrent connections.

    Args:
        nodes: all nodes by name, in an order in which each comes after those that feed it.
        before: names of the nodes that feed each, in the order of the edges.
        recurrent: for a neuron that feeds itself, the name of the synapse through which.
        feeding: the synapses that stand in recurrent connections, by name.
    """

    nodes: Mapping[str, Any]
    before: Mapping[str, list[str]]
    recurrent: Mapping[str, str]
    feeding: Mapping[str, Any]

    def after(self, name: str) -> list[str]:
        """Return the names of the nodes that a node feeds."""
        return [n for n, sources in self.before.items() if name in sources]


def flat(graph: Any) -> Flat:
    """Return a `nir.NIRGraph` as a flat graph.

    It must have one input and one output, and no cycle but of a neuron with a linear synapse back to itself.
    """
    nodes, edges = _inlined(graph, "")
    for kind in ("Input", "Output"):
        found = [n for n, node in nodes.items() if type(node).__name__ == kind]
        if len(found) != 1:
            raise NotCarriedOverError("graph", f"it must have one {kind}, got {found or 'none'}")
    edges = list(dict.fromkeys(edges))
    recurrent: dict[str, str] = {}
    for name in [n for n, node in nodes.items() if type(node).__name__ in ("Linear", "Affine")]:
        before = {a for a, b in edges if b == name}
        if len(before) == 1 and before == {b for a, b in edges if a == name}:
            (neuron,) = before
            if type(nodes[neuron]).__name__ not in NEURONS or neuron in recurrent:
                break
            recurrent[neuron] = name
    feeding = {name: nodes.pop(name) for name in recurrent.values()}
    edges = [(a, b) for a, b in edges if a not in feeding and b not in feeding]
    sources = {name: [a for a, b in edges if b == name] for name in nodes}
    ordered = _order(sources)
    return Flat({n: nodes[n] for n in ordered}, {n: sources[n] for n in ordered}, recurrent, feeding)


def _inlined(graph: Any, prefix: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the nodes and edges of a graph, those of graphs inside it named `graph.node`."""
    nodes: dict[str, Any] = {}
    edges = [(f"{prefix}{a}", f"{prefix}{b}") for a, b in graph.edges]
    for name, node in graph.nodes.items():
        if type(node).__name__ != "NIRGraph":
            nodes[f"{prefix}{name}"] = node
            continue
        inner, between = _inlined(node, f"{prefix}{name}.")
        ports = {kind: [n for n, m in inner.items() if type(m).__name__ == kind] for kind in ("Input", "Output")}
        if any(len(found) != 1 for found in ports.values()):
            raise NotCarriedOverError(
                f"{prefix}{name}", f"a graph inside must have one Input and one Output, got {ports}"
            )
        (first,), (last,) = ports["Input"], ports["Output"]
        whole = f"{prefix}{name}"
        edges = [(last if a == whole else a, first if b == whole else b) for a, b in edges] + between
        for port in (first, last):
            del inner[port]
            into, out = [a for a, b in edges if b == port], [b for a, b in edges if a == port]
            edges = [e for e in edges if port not in e] + [(a, b) for a in into for b in out]
        nodes |= inner
    unknown = sorted({n for edge in edges for n in edge} - set(nodes))
    if unknown and not prefix:
        raise NotCarriedOverError("graph", f"its edges name nodes that it does not have: {unknown}")
    return nodes, edges


def _order(sources: Mapping[str, list[str]]) -> list[str]:
    done: list[str] = []
    waiting = dict(sources)
    while waiting:
        ready = [n for n, before in waiting.items() if all(b in done for b in before)]
        if not ready:
            raise NotCarriedOverError(
                "graph",
                f"{sorted(waiting)} stand on a cycle or behind one; a neuron may feed itself through one Linear",
            )
        done += ready
        for name in ready:
            del waiting[name]
    return done
