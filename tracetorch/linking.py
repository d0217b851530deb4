"""The layers of a network, and what each is told above it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from tracetorch.engine import Core, Peers
from tracetorch.layer import Layer
from tracetorch.modules import named_modules
from tracetorch.order import count_filters, node_of
from tracetorch.rules.chains import measured
from tracetorch.rules.wiring import Node, Wiring


def layers(net: nn.Module) -> dict[str, Layer]:
    """Return the layers of a network by module name, in the order of registration.

    Args:
        net: any module.

    Returns:
        The layers.

    Raises:
        ValueError: if one layer stands twice in an `nn.Sequential`.

    Example:
        >>> import torch, tracetorch as tt
        >>> list(tt.layers(torch.nn.Sequential(tt.Layer(torch.nn.Linear(2, 2), tt.LI(half_life=3)))))
        ['0']
    """
    found: dict[str, Layer] = {}
    for module, name in named_modules(net).items():
        if isinstance(module, Layer):
            found[name] = module
        elif isinstance(module, nn.Sequential):
            _require_once(name, list(_chained(module)))
    return found


def _chained(chain: nn.Sequential) -> Iterator[nn.Module]:
    """Iterate over the modules that a chain calls, those of the chains in it too."""
    for module in chain:
        if isinstance(module, nn.Sequential):
            yield from _chained(module)
        else:
            yield module


def _require_once(name: str, called: list[nn.Module]) -> None:
    """Raise ValueError where a chain calls a layer, or a module with layers in it, twice."""
    if len({id(module) for module in called}) == len(called):
        return
    for i, module in enumerate(called):
        if any(module is other for other in called[:i]) and any(isinstance(m, Layer) for m in module.modules()):
            raise ValueError(
                f"one layer stands twice in {name or 'the network'}: it has one state and would run twice; "
                f"use layer.tied() for a second layer with the same parameters"
            )


def link(net: nn.Module) -> dict[str, Layer]:
    """Set what is above each layer, and return the layers by name.

    That is the next layer in the order of registration, until a first step has shown that the network runs otherwise.
    """
    found = layers(net)
    ordered = list(found.values())
    _introduce([layer.core for layer in ordered])
    if not ordered or (len(ordered) == 1 and _part_of_another(ordered[0])):
        for layer in ordered:
            if layer.core.wiring is not None:
                layer.core.wiring.renew(_node(layer))
        return found
    if torch.compiler.is_compiling() and all(one.core.above.known for one in ordered):
        _show(net, ordered)
        return found
    nodes = [_node(one) for one in ordered]
    wiring = ordered[0].core.wiring
    if wiring is None or any(one.core.wiring is not wiring for one in ordered) or not wiring.same(nodes):
        wiring = Wiring(nodes)
        for layer in ordered:
            layer.core.wiring, layer.core.version, layer.core.shown = wiring, 0, False
    wiring.over()
    settle(found)
    above = wiring.above()
    read = {s.activity for node in nodes if node.groups for s in above[node.activity].all}
    read |= {node.activity for node in nodes if node.hops}
    for layer in ordered:
        core = layer.core
        stands = above[core.activity]
        if core.version == wiring.version and not core.above.same(stands):
            core.above, core.bypassed, core.compared, state = stands, False, False, core.peek()
            if state is not None and not state.credits:
                core.state = replace(state, trace=layer.spec().trace(tuple(state.s[0].shape[1:])))
        if not torch.compiler.is_compiling():
            count_filters(layer.core, layer.rule, layer.neuron)
        wanted = core.activity in read and measured(layer.neuron)
        if wanted != core.activity.wanted:
            core.end_program()
            core.activity.wanted = wanted
    _show(net, ordered)
    return found


def settle(found: dict[str, Layer]) -> None:
    """Take up what the first step of a network has shown, before anything else is done with what it left."""
    for layer in found.values():
        core = layer.core
        if core.wiring is None or not layer.rule.above.groups or torch.compiler.is_compiling():
            continue
        core.wiring.over()
        if core.version != core.wiring.version and core.started and core.first:
            layer.settle()


def _show(net: nn.Module, ordered: list[Layer]) -> None:
    """Note that the form of a network shows in which order its layers run, where it does."""
    if all(layer.core.shown and layer.core.compared for layer in ordered):
        return
    if len(ordered) == 1 or _straight(net):
        for layer in ordered:
            layer.core.shown = layer.core.compared = True


def _straight(module: nn.Module) -> bool:
    """Return whether a network runs its layers in the order of registration, by its form: nn.Sequential all through."""
    if isinstance(module, Layer) or not layers(module):
        return True
    plain = type(module) is nn.Sequential and "forward" not in module.__dict__
    return plain and all(map(_straight, module.children()))


def _node(layer: Layer) -> Node:
    layer.core.recurrent = layer.recurrent is not None
    return node_of(layer.core, layer.rule, layer.neuron)


def _part_of_another(layer: Layer) -> bool:
    """Return whether a layer knows a larger network, in which it stays what it is."""
    core = layer.core
    return core.above.known and bool(core.above.stages or (core.wiring is not None and len(core.wiring.nodes) > 1))


def _introduce(cores: list[Core]) -> None:
    """Make the layers of a network known to each other; layers of a larger network stay what they are there."""
    if torch.compiler.is_compiling() or len(cores) < 2:
        return  # a compiled step is whole or nothing by itself
    if all(core.peers is cores[0].peers for core in cores) and len(cores[0].peers.cores) >= len(cores):
        return
    peers = Peers(tuple(cores))
    for core in cores:
        core.peers, core.turn = peers, 0
