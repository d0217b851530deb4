"""Networks of Norse."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch import IF, LI, LIF, HardReset, SoftReset, SynapticLIF
from tracetorch.interop.errors import NotCarriedOverError
from tracetorch.interop.networks.sequence import Counterpart, Dialect, network
from tracetorch.neurons import surrogates
from tracetorch.neurons.resets import Reset
from tracetorch.neurons.surrogates import Surrogate
from tracetorch.ops.require import require


def from_norse(
    net: nn.Module | Sequence[nn.Module], *, share: bool = False, surrogate: Surrogate | None = None
) -> nn.Sequential:
    r"""Build the equivalent of a network of Norse, with the same spikes.

    `LIFBoxCell`, `LIBoxCell`, `LIFCell`, `LIF`, `LIFRecurrentCell`, `LIFRecurrent` and `IAFCell` become neurons of a
    `tt.Layer` with the linear module before them; `Lift` is not needed. The decays are
    :math:`\beta = 1 - dt\,\tau_{mem}^{-1}` and :math:`\alpha = 1 - dt\,\tau_{syn}^{-1}`; in the current-based neurons
    the weights are multiplied by :math:`1 - \beta`. A membrane is counted from `v_leak`.

    Args:
        net: a `SequentialState` or `nn.Sequential`, or the modules in their order; a forward written in Python cannot
            be read off.
        share: let the synapses' weights be the same parameters as there; copies by default. It fails where the weights
            have to be multiplied.
        surrogate: stand-in for the derivative of all spikes; by default the counterpart of each neuron's own.

    Returns:
        The network; call `tt.reset` before a sequence.

    Raises:
        NotCarriedOverError: if a part has no counterpart; the message names it.
        ImportError: if `norse` is not installed.

    Source: C. Pehle, J. E. Pedersen, "Norse - A deep learning library for spiking neural networks" (2021),
    https://doi.org/10.5281/zenodo.4422025.

    Example:
        >>> import norse.torch as norse, torch, tracetorch as tt
        >>> theirs = norse.SequentialState(torch.nn.Linear(3, 4), norse.LIFBoxCell())
        >>> tt.scan(tt.interop.from_norse(theirs), torch.ones(10, 2, 3)).shape
        torch.Size([10, 2, 4])
    """
    norse = require("norse.torch")
    names = ("LIFBoxCell", "LIBoxCell", "LIFCell", "LIF", "LIFRecurrentCell", "LIFRecurrent", "IAFCell", "IAF")
    kinds = {getattr(norse, name): name for name in names if hasattr(norse, name)}

    def counterpart(module: nn.Module, name: str) -> Counterpart:
        return _counterpart(module, name, kinds[type(module)].removesuffix("Cell"), surrogate)

    containers = (norse.SequentialState, norse.Lift)
    return network(net, Dialect("Norse", "norse", kinds, counterpart, containers), share=share)


def _counterpart(module: Any, name: str, kind: str, surrogate: Surrogate | None) -> Counterpart:
    p, dt = module.p, module.dt
    if kind == "IAF":
        reset: Reset = HardReset(gradient=True, value=_number(p.v_reset, "v_reset", name))
        return Counterpart(IF(threshold=_tensor(p.v_th), reset=reset, surrogate=_surrogate(p, name, surrogate)))
    rest = _tensor(p.v_leak)
    beta = _decay(p.tau_mem_inv, dt, "tau_mem_inv", name)
    if kind == "LIBox":
        if bool((rest != 0).any()):
            raise NotCarriedOverError(name, "a leaky integrator rests at 0 here, this one has another v_leak")
        return Counterpart(LI(normalized=True, beta=beta))
    options: dict[str, Any] = {
        "beta": beta,
        "threshold": _tensor(p.v_th) - rest,
        "surrogate": _surrogate(p, name, surrogate),
        "reset": _reset(p, rest, name, gradient="Recurrent" not in kind),
    }
    if not bool((options["threshold"] > 0).all()):
        raise NotCarriedOverError(name, "v_th must lie above v_leak, from which a membrane is counted here")
    if kind == "LIFBox":
        return Counterpart(LIF(normalized=True, **options))
    neuron = SynapticLIF(synaptic_beta=_decay(p.tau_syn_inv, dt, "tau_syn_inv", name), **options)
    if beta.numel() > 1:
        raise NotCarriedOverError(name, "tau_mem_inv must be the same for all units, as it scales the weights")
    scale = float(1 - beta)
    if kind == "LIF":
        return Counterpart(neuron, scale=scale)
    if not module.autapses:
        warnings.warn(
            f"{name!r}: autapses=False keeps the diagonal of the recurrent weights at zero in training; here it starts "
            f"at zero and is learned",
            stacklevel=5,
        )
    synapse, recurrent = _linear(module.input_weights), _linear(module.recurrent_weights)
    return Counterpart(neuron, recurrent=recurrent, synapse=synapse, scale=scale)


def _linear(weight: Tensor) -> nn.Linear:
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype, device=weight.device)
    module.weight = nn.Parameter(weight.detach().clone())
    return module


def _reset(p: Any, rest: Tensor, name: str, *, gradient: bool) -> Reset:
    method = getattr(getattr(p, "reset_method", None), "__name__", "reset_value")
    if method == "reset_subtract":
        return SoftReset(gradient=gradient)
    if method != "reset_value":
        raise NotCarriedOverError(name, f"the reset {method} has no counterpart; reset_value and reset_subtract have")
    return HardReset(gradient=gradient, value=_number(_tensor(p.v_reset) - rest, "v_reset", name))


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value).detach().clone()


def _number(value: Any, key: str, name: str) -> float:
    different = torch.unique(_tensor(value))
    if different.numel() != 1:
        raise NotCarriedOverError(name, f"{key} must be the same for all units")
    return float(different)


def _decay(inverse: Any, dt: float, key: str, name: str) -> Tensor:
    beta = 1 - dt * _tensor(inverse)
    if not bool(((beta > 0) & (beta < 1)).all()):
        raise NotCarriedOverError(name, f"1 - dt {key} = {beta.min().item():g} must lie in (0, 1)")
    return beta


def _surrogate(p: Any, name: str, own: Surrogate | None) -> Surrogate:
    if p.method == "logistic":
        raise NotCarriedOverError(name, "method='logistic' draws spikes at random; here they follow from the membrane")
    if own is not None:
        return own
    if p.method == "super":
        return surrogates.FastSigmoid(1.0)  # as Norse 1.1.0 computes it, whatever its alpha
    raise NotCarriedOverError(
        name, f"the surrogate {p.method!r} has no counterpart; choose one: surrogate=tt.surrogates.FastSigmoid(1.0)"
    )
