"""What a stream can run: networks are looked through once, and what does not fit is refused with its reason."""

from __future__ import annotations

from itertools import pairwise
from typing import NoReturn

from torch import nn

from tracetorch.entry import has_global_hooks, has_hooks
from tracetorch.layer import Layer
from tracetorch.linking import link
from tracetorch.neurons import effective_parameters
from tracetorch.neurons.lowering import NotLowered
from tracetorch.steps import Part, hooked, unfit, unfit_blocks, unfit_neuron, unfit_tensors, why_not


def parts(net: nn.Module) -> list[Part]:
    """Return the layers of a network that a stream can run, in order; raise where one does not fit, with the reason."""
    if why_not():
        raise RuntimeError(f"tt.Stream needs compiled kernels: {why_not()}")
    if not isinstance(net, nn.Sequential) or type(net).forward is not nn.Sequential.forward or not len(net):
        raise ValueError(f"tt.Stream runs an nn.Sequential of tt.Layer, got {type(net).__name__}")
    for name, module in net.named_children():
        if type(module) is not Layer:
            _refuse(name, f"it is a {type(module).__name__}, and only tt.Layer can be fused")
    _refuse_hooks(net)
    found = [_part(name, layer) for name, layer in link(net).items()]
    first = found[0].synapse.weight
    for part in found:
        if part.synapse.weight.dtype != first.dtype:
            _refuse(part.name, f"its weights are {part.synapse.weight.dtype}, those of the first layer {first.dtype}")
    for below, above in pairwise(found):
        if below.synapse.out_features != above.synapse.in_features:
            _refuse(
                above.name, f"it takes {above.synapse.in_features} inputs and is given {below.synapse.out_features}"
            )
    tensors = [t for p in found for t in (*p.weights, *p.neuron.parameters()) if t is not None]
    if len({t.untyped_storage().data_ptr() for t in tensors}) < len(tensors):
        raise ValueError("layers share weights, so that one update would meet another; tt.Stream needs weights apart")
    return found


def _refuse(name: str, why: str) -> NoReturn:
    raise ValueError(f"tt.Stream cannot run layer {name!r}: {why}")


def _refuse_hooks(net: nn.Module) -> None:
    for name, module in net.named_modules():
        if has_hooks(module) or "forward" in module.__dict__:
            raise ValueError(f"module {name!r} has hooks, or a forward of its own, which a fused step would not call")
    if hooked(net.parameters()):
        raise ValueError("a parameter has hooks on its gradient, which a fused step would not call; remove them")
    if has_global_hooks():
        raise ValueError("hooks are registered for all modules, which a fused step would not call; remove them")


def _part(name: str, layer: Layer) -> Part:
    layer.follow_parts()
    why = unfit_tensors(layer)
    if why:
        _refuse(name, why)
    synapse, recurrent, neuron = layer.synapse, layer.recurrent, layer.neuron
    if not isinstance(synapse, nn.Linear) or not isinstance(recurrent, nn.Linear | None):
        _refuse(name, "its synapses are not nn.Linear")
    units = synapse.out_features
    why, lowered = unfit_neuron(neuron, units, synapse.weight.dtype), neuron.lowered()
    if why or isinstance(lowered, NotLowered):
        _refuse(name, why)
    state = layer.core.state
    if state is not None and state.s[0].dim() != 2:
        _refuse(name, f"its state is {list(state.s[0].shape)}, not [batch, units]; call tt.reset(net)")
    if layer.core.counted:
        _refuse(name, "its spikes are counted for a rate term (tt.FinalRate, tt.RunningRate)")
    if state is None:
        layer.spec().require_known()
    trace = layer.spec().trace((units,)) if state is None else state.trace
    why = unfit(trace)
    if why:
        _refuse(name, f"rule {layer.rule.name!r} {why}")
    why = unfit_blocks(trace, neuron)
    if why:
        _refuse(name, why)
    learned = tuple(effective_parameters(neuron))
    return Part(name, layer.core, synapse, recurrent, neuron, layer.feedback, trace, lowered, learned)
