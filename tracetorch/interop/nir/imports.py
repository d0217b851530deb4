"""A network from a graph of NIR."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

from tracetorch import Layer
from tracetorch.interop.discretisation import Discretisation, Euler, Exponential
from tracetorch.interop.errors import NotCarriedOverError
from tracetorch.interop.networks.sequence import identity
from tracetorch.interop.nir.graphs import NEURONS, SYNAPSES, Flat, flat
from tracetorch.interop.nir.modules import read_module, rescaled
from tracetorch.interop.nir.neurons import Reading, ReadNeuron, read_neuron
from tracetorch.neurons.resets import Reset
from tracetorch.neurons.surrogates import Surrogate


def from_nir(
    graph: Any,
    *,
    time: Discretisation | None = None,
    reset: Reset | None = None,
    surrogate: Surrogate | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    r"""Build the network of a graph of the Neuromorphic Intermediate Representation.

    A synapse and the neuron that it alone feeds become a `tt.Layer`; a chain becomes an `nn.Sequential`, another graph
    a `torch.fx.GraphModule`, in which what several edges bring to a node is summed. A neuron computes
    :math:`v_t = \beta v_{t-1} + k I_t` with :math:`k = r (1 - \beta)`: where `k` or `r` is 1 the weights are as in the
    graph, and else multiplied by `k`. A resting potential is taken as the origin of the membrane.

    Args:
        graph: the graph, a `nir.NIRGraph` such as `nir.read` returns.
        time: from time constants to decays; by default what `to_nir` wrote into the metadata. A graph of another
            program does not contain it: snnTorch's have `Euler(1e-4)`. In `IF` nodes :math:`k = r\,dt`: programs that
            count its time in steps are read with `Euler(1.0)`.
        reset: the reset of all neurons; by default what the metadata say, and else the hard one of NIR's equations.
            snnTorch writes its soft resets as hard ones: read them with `tt.SoftReset(decayed=False)`.
        surrogate: stand-in for the derivative of the spike; `ATan()` by default.
        dtype: of the weights and parameters; torch's default by default.

    Returns:
        The network, with its own weights.

    Raises:
        NotCarriedOverError: if a node has no counterpart; the message names it.
        ValueError: if the graph does not contain its time step and `time` is not given.

    Example:
        >>> import torch, tracetorch as tt
        >>> neuron = tt.LIF(half_life=5, reset=tt.HardReset())
        >>> graph = tt.interop.to_nir(torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), neuron)))
        >>> list(tt.layers(tt.interop.from_nir(graph)))
        ['0']
    """
    if type(graph).__name__ != "NIRGraph":
        raise TypeError(f"graph must be a nir.NIRGraph, such as nir.read(file) returns, got {type(graph).__name__}")
    how = Reading(_time(graph, time), reset, surrogate, torch.get_default_dtype() if dtype is None else dtype)
    found = flat(graph)
    modules, names = _modules(found, how)
    chain = [n for n in found.nodes if n in modules]
    if all(len(found.before[n]) <= 1 and len(found.after(n)) <= 1 for n in found.nodes):
        net = nn.Sequential()
        for node in chain:
            net.add_module(names[node], modules[node])
        return net
    return _graph_module(found, modules, names)


def _time(graph: Any, time: Discretisation | None) -> Discretisation:
    if time is not None:
        return time
    kind, dt = graph.metadata.get("discretisation"), graph.metadata.get("dt")
    kind = kind.decode() if isinstance(kind, bytes) else kind
    known = {"Euler": Euler, "Exponential": Exponential}
    if dt is None or kind not in known:
        raise ValueError(
            "the graph has no time step: give time=tt.interop.Euler(dt), with dt=1e-4 for graphs of snnTorch"
        )
    return known[kind](float(dt))


def _modules(found: Flat, how: Reading) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Return the modules by the name of their last node, and each module's own name."""
    modules: dict[str, nn.Module] = {}
    names: dict[str, str] = {}
    for name, node in found.nodes.items():
        kind = type(node).__name__
        if kind in ("Input", "Output"):
            continue
        if kind not in NEURONS:
            modules[name], names[name] = read_module(node, name, how.dtype), name
            continue
        read = read_neuron(node, name, how)
        before = found.before[name]
        alone = (
            len(before) == 1 and type(found.nodes[before[0]]).__name__ in SYNAPSES and len(found.after(before[0])) == 1
        )
        synapse = modules.pop(before[0]) if alone else _identity(read.unit, name, how.dtype)
        stem = name.removesuffix(".lif").removesuffix(".neuron")
        modules[name] = _layer(synapse, read, found, name, how)
        names[name] = stem if alone and names.pop(before[0]) == f"{stem}.synapse" else name
    return modules, _distinct(names)


def _layer(synapse: nn.Module, read: ReadNeuron, found: Flat, name: str, how: Reading) -> Layer:
    recurrent = None
    if name in found.recurrent:
        back = found.recurrent[name]
        recurrent = read_module(found.feeding[back], back, how.dtype)
    if read.scale is not None:
        for module in filter(None, (synapse, recurrent)):
            rescaled(module, read.scale, name)
    return Layer(synapse, read.neuron, recurrent=recurrent)


def _identity(unit: tuple[int, ...], name: str, dtype: torch.dtype) -> nn.Module:
    """Return a synapse that hands its input on, for a neuron that no synapse feeds alone."""
    kinds: dict[int, type[nn.Module]] = {1: nn.Linear, 2: nn.Conv1d, 3: nn.Conv2d}
    if len(unit) not in kinds:
        raise NotCarriedOverError(
            name, f"no synapse feeds it alone, and units of the shape {list(unit)} have no identity"
        )
    return identity(kinds[len(unit)], unit[0], dtype)


def _distinct(names: dict[str, str]) -> dict[str, str]:
    """Return names that modules can have, with no two alike."""
    used: dict[str, str] = {}
    for node, name in names.items():
        plain = name.replace(".", "_") or "node"
        fresh, number = plain, 1
        while fresh in used.values():
            fresh, number = f"{plain}_{number}", number + 1
        used[node] = fresh
    return used


def _graph_module(found: Flat, modules: dict[str, nn.Module], names: dict[str, str]) -> fx.GraphModule:
    graph = fx.Graph()
    values: dict[str, fx.Node] = {}
    for name, node in found.nodes.items():
        kind = type(node).__name__
        if kind == "Input":
            values[name] = graph.placeholder("x")
            continue
        if not found.before[name]:
            raise NotCarriedOverError(name, "nothing feeds it")
        total = _sum(graph, [values[b] for b in found.before[name]])
        if kind == "Output":
            graph.output(total)
        else:  # a synapse that stands in a layer hands its input on to it
            values[name] = graph.call_module(names[name], (total,)) if name in modules else total
    root = nn.Module()
    for node, module in modules.items():
        root.add_module(names[node], module)
    return fx.GraphModule(root, graph)


def _sum(graph: fx.Graph, values: list[fx.Node]) -> fx.Node:
    total = values[0]
    for value in values[1:]:
        total = graph.call_function(operator.add, (total, value))
    return total
