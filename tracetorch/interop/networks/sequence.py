"""A sequence of another program's modules as a network: synapses and neurons joined into layers, the rest as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tracetorch import Layer, Neuron
from tracetorch.interop.errors import NotCarriedOverError

SYNAPSES = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
POINTWISE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.ReLU, nn.modules.batchnorm._NormBase)
"""Modules that leave the shape as it is."""
POOLING = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
"""Modules that leave the channels as they are."""


Width = tuple[type[nn.Module], int]
"""The type of an identity synapse, and its number of channels."""


@dataclass(frozen=True)
class Counterpart:
    """What stands for another program's neuron.

    Args:
        neuron: the neuron.
        recurrent: synapse from its outputs back to its currents, or None.
        synapse: its own synapse from its inputs, or None where the module before it is that.
        scale: factor of the currents, which goes into the weights.
    """

    neuron: Neuron
    recurrent: nn.Module | None = None
    synapse: nn.Module | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Dialect:
    """How one program writes a network.

    Args:
        program: its name, for messages.
        package: its Python package.
        neurons: types of its neurons.
        counterpart: returns what stands for a neuron; called with the neuron and its name.
        containers: types whose children are a sequence, beside nn.Sequential.
        plain: returns a module of torch's own for a copy of one of the program's types.
    """

    program: str
    package: str
    neurons: Container[type[nn.Module]]
    counterpart: Callable[[nn.Module, str], Counterpart]
    containers: tuple[type[nn.Module], ...] = ()
    plain: Mapping[type[nn.Module], Callable[[nn.Module], nn.Module]] = field(default_factory=dict)

    def is_sequence(self, module: nn.Module) -> bool:
        """Return whether a module calls its children one after another."""
        calls = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
        return calls or type(module) in self.containers


def network(net: nn.Module | Sequence[nn.Module], dialect: Dialect, *, share: bool) -> nn.Sequential:
    """Return the network of a sequence of another program's modules; `share` its weights, or copy them."""
    items = list(_flat(net, dialect))
    found = [dialect.counterpart(m, name) if type(m) in dialect.neurons else None for name, m in items]
    built, index = nn.Sequential(), 0
    width: Width | None = None
    while index < len(items):
        name, module = items[index]
        neuron, index, theirs = found[index], index + 1, True
        if neuron is not None:
            theirs = neuron.synapse is not None
            synapse = neuron.synapse or _identity(width, name)
        else:
            synapse = _plain(module, name, dialect, share=share)
            following = found[index] if index < len(found) else None
            if not isinstance(synapse, SYNAPSES) or following is None or following.synapse is not None:
                built.add_module(_name(name, built), synapse)
                width = _width(synapse, width)
                continue
            neuron, index = following, index + 1
        width = _width(synapse, width)
        built.add_module(_name(name, built), _layer(synapse, neuron, name, share=share and theirs))
    return built


def _layer(synapse: nn.Module, found: Counterpart, name: str, *, share: bool) -> Layer:
    if found.scale != 1:
        if share:
            raise NotCarriedOverError(
                name,
                f"its currents are scaled by {found.scale:g}, which goes into the weights; share=False copies them",
            )
        with torch.no_grad():
            for module in filter(None, (synapse, found.recurrent)):
                for p in module.parameters():
                    p.mul_(found.scale)
    weight: Any = synapse.weight
    return Layer(synapse, found.neuron.to(weight), recurrent=found.recurrent)


def _flat(net: nn.Module | Sequence[nn.Module], dialect: Dialect, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    if isinstance(net, nn.Module) and not dialect.is_sequence(net):
        inside = [name for name, m in net.named_modules() if name and type(m) in dialect.neurons]
        if inside and type(net) not in dialect.neurons:
            children = [f"net.{name}" for name, _ in net.named_children()]
            raise NotCarriedOverError(
                prefix or type(net).__name__,
                f"it holds neurons ({', '.join(inside)}) and its forward is Python, which cannot be read off; give its "
                f"modules in their order, as in [{', '.join(children)}], or build it as nn.Sequential",
            )
        yield prefix or "0", net
        return
    items = net.named_children() if isinstance(net, nn.Module) else ((str(i), m) for i, m in enumerate(net))
    for name, module in items:
        yield from _flat(module, dialect, f"{prefix}.{name}" if prefix else name)


def _plain(module: nn.Module, name: str, dialect: Dialect, *, share: bool) -> nn.Module:
    """Return a module of torch's own type with the same weights, or with copies of them."""
    kind = type(module)
    if kind in dialect.plain:
        return dialect.plain[kind](copy.copy(module) if share else copy.deepcopy(module))
    if kind.__module__.partition(".")[0] == dialect.package:
        raise NotCarriedOverError(name, f"traceTorch has no counterpart of {dialect.program}'s {kind.__name__}")
    return module if share else copy.deepcopy(module)


def _width(module: nn.Module, before: Width | None) -> Width | None:
    """Return what an identity synapse after a module would be: its type and its number of channels."""
    if isinstance(module, nn.Linear):
        return nn.Linear, module.out_features
    if isinstance(module, SYNAPSES):
        dims = len(module.kernel_size)  # type: ignore[arg-type]
        return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1], module.out_channels  # type: ignore[return-value]
    keeps = isinstance(module, POINTWISE) or (isinstance(module, POOLING) and before is not None)
    return before if keeps else None


def _identity(width: Width | None, name: str) -> nn.Module:
    if width is None:
        raise NotCarriedOverError(
            name, "a neuron needs a synapse before it, with batch norms, dropout and pooling between them at most"
        )
    return identity(*width)


def identity(kind: type[nn.Module], size: int, dtype: torch.dtype | None = None) -> nn.Module:
    """Return a synapse that hands its input on and is not learned: a linear one, or one that convolves channels."""
    if kind is nn.Linear:
        module: nn.Module = nn.Linear(size, size, bias=False, dtype=dtype)
        weight = torch.eye(size, dtype=dtype)
    else:
        module = kind(size, size, 1, groups=size, bias=False, dtype=dtype)
        weight = torch.ones_like(module.weight)  # type: ignore[arg-type]
    module.weight = nn.Parameter(weight, requires_grad=False)
    return module


def _name(name: str, built: nn.Sequential) -> str:
    plain = name.replace(".", "_")
    return plain if plain not in built._modules else f"{plain}_neuron"
