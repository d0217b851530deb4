"""Networks of snnTorch."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch import LIF, DiagonalRecurrent, HardReset, Learnable, Neuron, NoReset, SoftReset, SynapticLIF
from tracetorch.interop.errors import NotCarriedOverError
from tracetorch.interop.networks.sequence import Counterpart, Dialect, network
from tracetorch.neurons import surrogates
from tracetorch.neurons.resets import Reset
from tracetorch.neurons.surrogates import Surrogate
from tracetorch.ops.require import require


def from_snntorch(
    net: nn.Module | Sequence[nn.Module], *, share: bool = False, surrogate: Surrogate | None = None
) -> nn.Sequential:
    """Build the equivalent of a network of snnTorch, with the same spikes.

    `Leaky`, `Synaptic`, `RLeaky` and `RSynaptic` become neurons of a `tt.Layer` with the linear module before them,
    named as that module; where batch norm or pooling is between, the layer's synapse is an identity that is not
    learned.
    Reset, surrogate, thresholds, and which of these are learned come across. The network gives spikes; where theirs
    gives out the membrane, put a `tt.LI` there.

    Args:
        net: an `nn.Sequential`, or the modules in their order; a forward written in Python cannot be read off.
        share: let the synapses' weights be the same parameters as there; copies by default. Neuron parameters are
            copied.
        surrogate: stand-in for the derivative of all spikes; by default the counterpart of each neuron's own.

    Returns:
        The network; call `tt.reset` before a sequence.

    Raises:
        NotCarriedOverError: if a part has no counterpart; the message names it.
        ImportError: if `snntorch` is not installed.

    Source: J. K. Eshraghian et al., "Training Spiking Neural Networks Using Lessons From Deep Learning" (2023),
    https://doi.org/10.1109/JPROC.2023.3308088.

    Example:
        >>> import snntorch, torch, tracetorch as tt
        >>> theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), snntorch.Leaky(beta=0.9, init_hidden=True))
        >>> tt.scan(tt.interop.from_snntorch(theirs), torch.ones(10, 2, 3)).shape
        torch.Size([10, 2, 4])
    """
    snn = require("snntorch")
    kinds = {snn.Leaky, snn.Synaptic, snn.RLeaky, snn.RSynaptic}

    def counterpart(module: nn.Module, name: str) -> Counterpart:
        return _counterpart(module, name, share=share, surrogate=surrogate)

    return network(net, Dialect("snnTorch", "snntorch", kinds, counterpart), share=share)


def _counterpart(module: Any, name: str, *, share: bool, surrogate: Surrogate | None) -> Counterpart:
    kind = type(module).__name__
    for option in ("inhibition", "state_quant"):
        if getattr(module, option):
            raise NotCarriedOverError(name, f"{kind} has {option}={getattr(module, option)!r}; there is none here")
    if torch.any(module.graded_spikes_factor != 1):
        raise NotCarriedOverError(name, f"{kind} has graded spikes; here a spike is 1, scale the weights after it")
    beta = _decay(module.beta, "beta", name)
    options: dict[str, Any] = {
        "beta": beta,
        "threshold": _learned(module.threshold),
        "reset": _reset(module, name, kind),
        "surrogate": surrogate if surrogate is not None else _surrogate(module.spike_grad, name),
    }
    neuron: Neuron
    if kind.endswith("Synaptic"):
        neuron = SynapticLIF(synaptic_beta=_decay(module.alpha, "alpha", name), **options)
    else:
        neuron = LIF(**options)
    if not kind.startswith("R"):
        return Counterpart(neuron)
    if module.all_to_all:
        return Counterpart(neuron, recurrent=module.recurrent if share else copy.deepcopy(module.recurrent))
    v: Tensor = module.recurrent.V
    if v.dim() == 0:
        raise NotCarriedOverError(name, f"{kind} has one number V for all units; give it one per unit")
    diagonal = DiagonalRecurrent(neuron, tuple(v.shape))
    diagonal.r = nn.Parameter(v.detach().clone(), requires_grad=v.requires_grad)
    return Counterpart(diagonal)


def _learned(value: Tensor) -> Tensor | Learnable:
    plain = value.detach().clone().float() if not value.is_floating_point() else value.detach().clone()
    return Learnable(plain) if isinstance(value, nn.Parameter) and value.requires_grad else plain


def _decay(value: Tensor, key: str, name: str) -> Tensor | Learnable:
    if not bool(((value > 0) & (value < 1)).all()):
        raise NotCarriedOverError(name, f"{key} must lie in (0, 1), got {value.detach().flatten()[0].item():g}")
    return _learned(value)


def _reset(module: Any, name: str, kind: str) -> Reset:
    mechanism, delayed = module.reset_mechanism, module.reset_delay
    if mechanism == "none":
        return NoReset()
    if not delayed and kind == "RSynaptic":
        raise NotCarriedOverError(name, "RSynaptic with reset_delay=False does not run in snnTorch itself")
    if mechanism == "zero":
        if delayed and kind != "Leaky":
            raise NotCarriedOverError(
                name,
                f"{kind} with reset_mechanism='zero' gives nothing on in the step after a spike, its input included, "
                f"which no reset here does; reset_delay=False, or 'subtract', has a counterpart",
            )
        return HardReset(gradient=not delayed)
    if delayed:
        return SoftReset(decayed=False)
    warnings.warn(
        f"{name!r}: {kind} with reset_delay=False subtracts a second time where a membrane is above the threshold "
        f"after its reset; spikes are the same while none is",
        stacklevel=6,
    )
    return SoftReset(gradient=True)


def _surrogate(function: Any, name: str) -> Surrogate:
    kind = getattr(function, "__qualname__", repr(function)).partition(".")[0]
    numbers = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
    if kind == "atan":
        return surrogates.ATan(float(numbers["alpha"]))
    if kind == "fast_sigmoid":
        return surrogates.FastSigmoid(float(numbers["slope"]))
    if kind == "sigmoid":
        return surrogates.Sigmoid(float(numbers["slope"]))
    if kind == "straight_through_estimator":
        return surrogates.StraightThrough()
    raise NotCarriedOverError(
        name, f"the surrogate {kind} has no counterpart; choose one: surrogate=tt.surrogates.ATan(2.0)"
    )
