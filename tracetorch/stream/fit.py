"""What a stream can run: networks are looked through once, and what does not fit is refused with its reason."""

from __future__ import annotations

from itertools import pairwise
from typing import NoReturn

import torch
from torch import nn

from tracetorch.cell import Part, unfit
from tracetorch.layer import Layer
from tracetorch.network import link
from tracetorch.neurons import Neuron
from tracetorch.neurons.lowering import NotLowered
from tracetorch.neurons.scalar import Scalar
from tracetorch.ops.fused import why_not


def parts(net: nn.Module) -> list[Part]:
    """Return the layers of a network that a stream can run, in order.

    Args:
        net: the network.

    Returns:
        The layers with all that is decided about them.

    Raises:
        RuntimeError: if the compiled kernels cannot run here.
        ValueError: if the network, a layer, its rule or its tensors do not fit; the message says what and why.
    """
    if why_not():
        raise RuntimeError(f"tt.Stream needs compiled kernels: {why_not()}")
    if not isinstance(net, nn.Sequential) or type(net).forward is not nn.Sequential.forward or not len(net):
        raise ValueError(f"tt.Stream runs an nn.Sequential of tt.Layer, got {type(net).__name__}")
    for name, module in net.named_children():
        if type(module) is not Layer:
            _refuse(name, f"it is a {type(module).__name__}, and only tt.Layer can be fused")
    _refuse_hooks(net)
    found = [_part(name, layer) for name, layer in link(net).items()]
    first = found[0].weight
    for part in found:
        if part.weight.dtype != first.dtype:
            _refuse(part.name, f"its weights are {part.weight.dtype}, those of the first layer {first.dtype}")
    for below, above in pairwise(found):
        if below.weight.shape[0] != above.weight.shape[1]:
            _refuse(above.name, f"it takes {above.weight.shape[1]} inputs and is given {below.weight.shape[0]}")
    tensors = [t for p in found for t in (p.weight, p.bias) if t is not None]
    if len({t.untyped_storage().data_ptr() for t in tensors}) < len(tensors):
        raise ValueError("layers share weights, so that one update would meet another; tt.Stream needs weights apart")
    return found


def _refuse(name: str, why: str) -> NoReturn:
    raise ValueError(f"tt.Stream cannot run layer {name!r}: {why}")


def _refuse_hooks(net: nn.Module) -> None:
    for name, module in net.named_modules():
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            raise ValueError(f"module {name!r} has hooks, which a fused step would not call; remove them")


def _part(name: str, layer: Layer) -> Part:
    if type(layer.synapse) is not nn.Linear:
        _refuse(name, f"its synapse is a {type(layer.synapse).__name__}; only nn.Linear can be fused")
    if layer.recurrent is not None:
        _refuse(name, "it has a recurrent synapse")
    scalar = _tensors(name, layer)
    units = layer.synapse.out_features
    state = layer.core.state
    if state is not None and state.s[0].dim() != 2:
        _refuse(name, f"its state is {list(state.s[0].shape)}, not [batch, units]; call tt.reset(net)")
    if layer.core.counted:
        _refuse(name, "its spikes are counted for a rate term (tt.FinalRate, tt.RunningRate)")
    trace = layer.spec().trace((units,)) if state is None else state.trace
    why = unfit(trace)
    if why:
        _refuse(name, f"rule {layer.rule.name!r} {why}")
    return Part(name, layer.core, layer.synapses[0], layer.neuron, layer.feedback, trace, scalar)


def _tensors(name: str, layer: Layer) -> Scalar:
    for kind, tensor in layer.synapse.named_parameters():
        if not tensor.requires_grad:
            _refuse(name, f"its {kind} is frozen; tt.Stream updates all weights and biases")
        if tensor.device.type != "cpu" or tensor.dtype not in (torch.float32, torch.float64):
            _refuse(name, f"its {kind} is {tensor.dtype} on {tensor.device}; kernels take float32 or float64 on cpu")
        if not tensor.is_contiguous():
            _refuse(name, f"its {kind} is not contiguous")
    if not isinstance(layer.synapse._parameters.get("weight"), nn.Parameter):
        _refuse(name, "its weight is computed from others (a parametrization)")
    learned = [n for n, _ in layer.neuron.named_parameters()]
    if learned:
        _refuse(name, f"its neuron learns {', '.join(sorted(learned))}; tt.Stream updates weights and biases only")
    scalar = layer.neuron.scalar()
    if scalar is None:
        _refuse(name, f"{type(layer.neuron).__name__} has no step on plain numbers ({_reason(layer.neuron)})")
    return scalar


def _reason(neuron: Neuron) -> str:
    program = neuron.lowered()
    return program.reason if isinstance(program, NotLowered) else "kernels take 2 states, 1 counter, 4 parameters"
