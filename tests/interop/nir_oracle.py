"""NIR's equations in NumPy by forward Euler, written from its paper and sharing nothing with the library."""

from __future__ import annotations

from typing import Any

import numpy as np


def simulate(graph: Any, xs: np.ndarray, dt: float, reset: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
    """What every node gives, [T, B, ...]; `reset` maps a node's name to (membrane, spikes, threshold) -> membrane."""
    nodes, edges = flatten(graph)
    reset = reset or {}
    state: dict[str, dict[str, np.ndarray]] = {name: {} for name in nodes}
    # Before the first step no neuron has fired, so an Affine that a neuron feeds gives its bias.
    last = {name: node.bias for name, node in nodes.items() if type(node).__name__ == "Affine"}
    record: dict[str, list[np.ndarray]] = {name: [] for name in nodes}
    order = in_order(nodes, edges)
    for x in xs:
        now: dict[str, np.ndarray] = {}
        for name in order:
            # an edge from a node that is still to come carries what that node gave one step ago
            given = [now[a] if a in now else last.get(a) for a, b in edges if b == name]
            given = [g for g in given if g is not None]
            total = x if type(nodes[name]).__name__ == "Input" else sum(given[1:], given[0])
            now[name] = step(nodes[name], total, state[name], dt, reset.get(name))
        last = now
        for name, value in now.items():
            record[name].append(value)
    return {name: np.stack(values) for name, values in record.items()}


def step(node: Any, x: np.ndarray, s: dict[str, np.ndarray], dt: float, reset: Any) -> np.ndarray:
    kind = type(node).__name__
    if kind == "Affine":
        return x @ node.weight.T + node.bias
    if kind == "Linear":
        return x @ node.weight.T
    if kind == "Scale":
        return x * node.scale
    if kind == "Flatten":
        return x.reshape(len(x), -1)
    if kind == "Conv2d":
        return conv2d(node, x)
    if kind in ("AvgPool2d", "SumPool2d"):
        return pool(node, x, mean=kind == "AvgPool2d")
    if kind in ("Input", "Output"):
        return x
    rest = getattr(node, "v_leak", 0.0)
    v = s.get("v", np.zeros_like(x) + rest)
    if kind == "CubaLIF":
        i = s.get("i", np.zeros_like(x))
        x = s["i"] = i + dt / node.tau_syn * (node.w_in * x - i)
    if kind == "IF":
        v = v + dt * node.r * x
    else:
        v = v + dt / (node.tau_mem if kind == "CubaLIF" else node.tau) * (rest - v + node.r * x)
    if kind == "LI":
        s["v"] = v
        return v
    z = (v > node.v_threshold).astype(x.dtype)
    s["v"] = np.where(z > 0, node.v_reset, v) if reset is None else reset(v, z, node.v_threshold)
    return z


def conv2d(node: Any, x: np.ndarray) -> np.ndarray:
    (sy, sx), (py, px) = node.stride, node.padding
    x = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
    o, _, h, w = node.weight.shape
    rows, columns = (x.shape[2] - h) // sy + 1, (x.shape[3] - w) // sx + 1
    out = np.zeros((len(x), o, rows, columns))
    for r in range(rows):
        for c in range(columns):
            patch = x[:, :, r * sy : r * sy + h, c * sx : c * sx + w]
            out[:, :, r, c] = np.einsum("bihw,oihw->bo", patch, node.weight) + node.bias
    return out


def pool(node: Any, x: np.ndarray, *, mean: bool) -> np.ndarray:
    (h, w), (sy, sx) = node.kernel_size, node.stride
    rows, columns = (x.shape[2] - h) // sy + 1, (x.shape[3] - w) // sx + 1
    cells = [[x[:, :, r * sy : r * sy + h, c * sx : c * sx + w] for c in range(columns)] for r in range(rows)]
    total = np.stack([np.stack([p.sum((2, 3)) for p in row], -1) for row in cells], -2)
    return total / (h * w) if mean else total


def flatten(graph: Any, prefix: str = "") -> tuple[dict[str, Any], list[tuple[str, str]]]:
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    inner = {name for name, node in graph.nodes.items() if type(node).__name__ == "NIRGraph"}
    for name, node in graph.nodes.items():
        if name in inner:
            more, between = flatten(node, f"{prefix}{name}.")
            nodes |= more
            edges += between
        else:
            nodes[prefix + name] = node
    for a, b in graph.edges:
        edges.append((f"{prefix}{a}" + ".output" * (a in inner), f"{prefix}{b}" + ".input" * (b in inner)))
    # An Input of a graph inside stands for its sum of edges, an Output for its node: both pass their value on.
    for name in [n for n, m in nodes.items() if prefix == "" and "." in n and type(m).__name__ in ("Input", "Output")]:
        into, out = [a for a, b in edges if b == name], [b for a, b in edges if a == name]
        edges = [e for e in edges if name not in e] + [(a, b) for a in into for b in out]
        del nodes[name]
    return nodes, edges


def in_order(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> list[str]:
    """Depth first from the input; a back edge, met on a cycle, is left to the step before."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        seen.add(name)
        for a, b in edges:
            if a == name and b not in seen:
                visit(b)
        order.insert(0, name)

    visit(next(n for n, node in nodes.items() if type(node).__name__ == "Input"))
    return order
