r"""Neurons as nodes of NIR, and back.

NIR states :math:`\tau \dot v = v_{leak} - v + r I` and no time step. With a decay :math:`\beta` from a
`Discretisation`, a step is :math:`v_t = \beta v_{t-1} + k I_t` with :math:`k = r (1 - \beta)`, measured from the
resting potential; a spike is :math:`v_t > v_{threshold}`. In the current-based neuron the current of the same step
charges the membrane: :math:`i_t = \alpha i_{t-1} + w_{in} (1 - \alpha) I_t`, `v_t = \beta v_{t-1} + r (1 - \beta) i_t`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils import parametrize

from tracetorch import IF, LI, LIF, HardReset, Neuron, SynapticLIF
from tracetorch.interop.discretisation import Array, Discretisation
from tracetorch.interop.errors import NotCarriedOverError
from tracetorch.interop.nir.resets import OtherReset, read_reset, written_reset
from tracetorch.neurons.resets import Reset
from tracetorch.neurons.surrogates import Surrogate

ROUNDING = 1e-5
"""Relative error below which a factor counts as 1: graphs often hold time constants in single precision."""


@dataclass(frozen=True)
class Writing:
    """How a network is written as a graph; `unit_resistance` writes `r = 1` and scales the weights instead."""

    time: Discretisation
    other_reset: OtherReset
    unit_resistance: bool


@dataclass(frozen=True)
class Reading:
    """How a graph is read as a network; a `reset` of None is what the metadata say, and else NIR's hard one."""

    time: Discretisation
    reset: Reset | None
    surrogate: Surrogate | None
    dtype: torch.dtype


@dataclass(frozen=True)
class ReadNeuron:
    """A neuron, the factor of the weights before it, `[*unit]` or None for 1, and the shape of its units there."""

    neuron: Neuron
    scale: Array | None
    unit: tuple[int, ...]


def neuron_node(neuron: Neuron, unit: tuple[int, ...], name: str, how: Writing) -> tuple[Any, Array | None]:
    """Return the node of a neuron, and the factor of the weights before it, `[*unit]`, or None for 1."""
    import nir

    def full(value: Tensor | float) -> Array:
        array = value.detach().cpu().double().numpy() if isinstance(value, Tensor) else np.float64(value)
        return np.broadcast_to(array, unit).astype(np.float64)

    kind = parametrize.type_before_parametrizations(neuron)
    if kind not in (LIF, IF, LI, SynapticLIF):
        raise NotCarriedOverError(name, f"NIR has no node for {kind.__name__}; LIF, IF, LI and SynapticLIF have one")
    if getattr(neuron, "refractory", 0):
        raise NotCarriedOverError(name, "NIR's neurons have no refractory period; build the layer with refractory=0")
    shown: dict[str, Any] = {}
    if not isinstance(neuron, LI):
        shown["metadata"], value = written_reset(neuron.reset, name, how.other_reset)  # type: ignore[arg-type]
        shown |= {"v_threshold": full(neuron.threshold), "v_reset": full(value)}
    if isinstance(neuron, IF):
        return nir.IF(r=full(1 / how.time.dt), **shown), None
    beta = full(neuron.beta)
    normalized = bool(neuron.normalized)
    r = np.ones(unit) if normalized else 1 / (1 - beta)
    scale: Array | None = None
    if how.unit_resistance and not normalized:
        r, scale = np.ones(unit), r
    common = {"r": r, "v_leak": np.zeros(unit)} | shown
    if isinstance(neuron, LI):
        return nir.LI(tau=how.time.time_constant(beta), **common), scale
    if isinstance(neuron, LIF):
        return nir.LIF(tau=how.time.time_constant(beta), **common), scale
    alpha = full(neuron.alpha)  # type: ignore[arg-type]
    w_in = np.ones(unit) if normalized else 1 / (1 - alpha)
    if scale is not None:
        w_in, scale = np.ones(unit), scale * w_in
    constants = {"tau_mem": how.time.time_constant(beta), "tau_syn": how.time.time_constant(alpha), "w_in": w_in}
    return nir.CubaLIF(**constants, **common), scale


def read_neuron(node: Any, name: str, how: Reading) -> ReadNeuron:
    """Return the neuron of a `nir.LIF`, `LI`, `CubaLIF` or `IF`, and the factor of the weights before it."""
    kind = type(node).__name__
    r = _array(node.r)
    unit = tuple(int(n) for n in np.shape(node.r if kind in ("IF", "LI") else node.v_threshold))
    spiking: dict[str, Any] = {} if kind == "LI" else _spiking(node, name, how)
    if kind == "IF":
        return ReadNeuron(IF(**spiking).to(how.dtype), _factor(r * how.time.dt), unit)
    tau = node.tau_mem if kind == "CubaLIF" else node.tau
    beta = _decay(tau, "tau", name, how.time)
    decays: dict[str, Any] = {"beta": _value(beta, how.dtype)}
    k, plain = r * (1 - beta), [r]
    if kind == "CubaLIF":
        alpha = _decay(node.tau_syn, "tau_syn", name, how.time)
        decays["synaptic_beta"] = _value(alpha, how.dtype)
        w_in = _array(node.w_in)
        k, plain = k * w_in * (1 - alpha), [r, w_in]
    scale = _factor(k)
    normalized = scale is not None and all(_factor(x) is None for x in plain)
    if kind == "LI":
        if np.any(_array(node.v_leak)):
            raise NotCarriedOverError(name, "a leaky integrator rests at 0 here, the node has another v_leak")
        return ReadNeuron(LI(normalized=normalized, **decays).to(how.dtype), None if normalized else scale, unit)
    neuron = (SynapticLIF if kind == "CubaLIF" else LIF)(normalized=normalized, **decays, **spiking)
    return ReadNeuron(neuron.to(how.dtype), None if normalized else scale, unit)


def _spiking(node: Any, name: str, how: Reading) -> dict[str, Any]:
    rest = _array(getattr(node, "v_leak", 0.0))
    threshold = _array(node.v_threshold) - rest
    if not np.all(threshold > 0):
        raise NotCarriedOverError(name, f"v_threshold must lie above the resting potential, got {threshold.min():g}")
    kind = how.reset or read_reset(node.metadata, name)
    if how.reset is None and (kind is None or isinstance(kind, HardReset)):
        values = np.unique(_array(node.v_reset) - rest)
        if values.size > 1:
            raise NotCarriedOverError(name, f"v_reset must be the same for all units, got {values.size} values")
        gradient = kind.gradient if kind is not None else False
        kind = HardReset(gradient=gradient, value=float(values[0]))
    return {"threshold": _value(threshold, how.dtype), "reset": kind, "surrogate": how.surrogate}


def _array(value: npt.ArrayLike | Tensor) -> Array:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype=np.float64)


def _value(array: Array, dtype: torch.dtype) -> Tensor:
    """Return one number where all units have the same, else one per unit."""
    shared = array.reshape(-1)[:1].reshape(()) if np.unique(array).size == 1 else array
    return torch.as_tensor(np.array(shared)).to(dtype)


def _factor(k: Array) -> Array | None:
    return None if np.allclose(k, 1, rtol=ROUNDING, atol=0) else k


def _decay(tau: Any, key: str, name: str, time: Discretisation) -> Array:
    beta = time.decay(_array(tau))
    if not np.all((beta > 0) & (beta < 1)):
        worst = _array(tau).min()
        raise NotCarriedOverError(
            name,
            f"{key} = {worst:g} with {time} gives the decay {beta.min():g} per step, which is not in (0, 1): is dt in "
            f"the unit of the time constants? Where it is, take a smaller step or tt.interop.Exponential(dt)",
        )
    return beta
