"""The reset in NIR: its equations know the hard one only, so the kind stands in the node's metadata."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tracetorch import HardReset, Layer, NoReset, SoftReset, record
from tracetorch import reset as tt_reset
from tracetorch.interop.errors import NotCarriedOverError
from tracetorch.neurons.resets import Reset

OtherReset = Literal["refuse", "metadata", "hard"]


def reset_metadata(kind: Reset) -> dict[str, Any]:
    """Return a reset as entries of a node's metadata."""
    names = {SoftReset: "soft", HardReset: "hard", NoReset: "none"}
    return {"reset": names[type(kind)], "reset_decayed": kind.decayed, "reset_gradient": kind.gradient}


def written_reset(kind: Reset, name: str, other_reset: OtherReset) -> tuple[dict[str, Any], float]:
    """Return a reset as a node's metadata, and the value that the membrane is set to."""
    if isinstance(kind, HardReset):
        if kind.value and not kind.decayed:
            why = f"{kind} sets the membrane after the decay; NIR sets it before: HardReset(value={kind.value} / beta)"
            raise NotCarriedOverError(name, why)
        return reset_metadata(kind), kind.value
    if type(kind) not in (SoftReset, NoReset):
        raise NotCarriedOverError(name, f"the reset {kind!r} has no counterpart in NIR")
    if other_reset == "refuse":
        raise NotCarriedOverError(
            name,
            f"{kind} has no counterpart in NIR, where a spike sets the membrane to v_reset. "
            f'other_reset="metadata" writes it beside the equations (traceTorch reads it back; other readers reset '
            f'to zero), other_reset="hard" makes it a hard reset; with sample=xs both say how many spikes that changes',
        )
    return reset_metadata(HardReset() if other_reset == "hard" else kind), 0.0


def read_reset(metadata: Mapping[str, Any], name: str) -> Reset | None:
    """Return the reset that a node's metadata name; None where they name none. A hard one's value is in the node."""
    kind = metadata.get("reset")
    if kind is None:
        return None
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    types: dict[str, type[Reset]] = {"soft": SoftReset, "hard": HardReset, "none": NoReset}
    if kind not in types:
        raise NotCarriedOverError(name, f"its metadata name the reset {kind!r}; expected one of {sorted(types)}")
    decayed, gradient = metadata.get("reset_decayed", True), metadata.get("reset_gradient", False)
    return types[kind](decayed=bool(decayed), gradient=bool(gradient))


def reset_difference(net: nn.Module, xs: Tensor) -> dict[str, float]:
    r"""Measure how many spikes would change if every reset were a hard one to zero.

    .. math:: \sum_{t,b,i} |z_{tbi} - z'_{tbi}| \,/\, \sum_{t,b,i} z_{tbi}

    where `z'` are the spikes of the network with hard resets in all its layers.

    Args:
        net: the network; it is copied, and not changed.
        xs: inputs, `[T, B, *in]`.

    Returns:
        The share of each layer whose reset is not hard, by its name: 0 for none, more than 1 is possible.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(2, 3), tt.LIF(half_life=5)))
        >>> list(tt.interop.reset_difference(net, torch.rand(9, 1, 2)))
        ['0']
    """
    ours, hard = copy.deepcopy(net), copy.deepcopy(net)
    chosen = layers_without_hard_reset(net)
    if not chosen:
        return {}
    for layer in map(hard.get_submodule, chosen):
        neuron = copy.deepcopy(layer.neuron)  # another object, so that nothing derived from the old one is reused
        spiking: Any = getattr(neuron, "inner", neuron)
        spiking.reset = HardReset()
        tt_reset(hard)
        layer.neuron = neuron
    before, after = _spikes(ours, chosen, xs), _spikes(hard, chosen, xs)
    return {n: float((before[n] - after[n]).abs().sum() / before[n].sum().clamp(min=1)) for n in chosen}


def layers_without_hard_reset(net: nn.Module) -> list[str]:
    """Return the names of the layers that spike and do not set the membrane to a value."""
    return [name for name, m in net.named_modules() if isinstance(m, Layer) and not _is_hard(m.neuron)]


def _is_hard(neuron: nn.Module) -> bool:
    return isinstance(getattr(getattr(neuron, "inner", neuron), "reset", HardReset()), HardReset)


def _spikes(net: nn.Module, chosen: Sequence[str], xs: Tensor) -> dict[str, Tensor]:
    tt_reset(net)
    with torch.no_grad(), record(net, *(f"{name}.outputs" for name in chosen), last=len(xs)) as seen:
        for x in xs:
            net(x)
    return {name: seen[f"{name}.outputs"] for name in chosen}
