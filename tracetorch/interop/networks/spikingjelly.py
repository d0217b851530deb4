"""Networks of SpikingJelly."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch import IF, LI, LIF, HardReset, Learnable, SoftReset, SynapticLIF
from tracetorch.interop.errors import NotCarriedOverError
from tracetorch.interop.networks.sequence import Counterpart, Dialect, network
from tracetorch.neurons import surrogates
from tracetorch.neurons.surrogates import Surrogate
from tracetorch.ops.require import require

_PLAIN = (
    *("Linear", "Flatten", "Upsample", "GroupNorm", "Conv1d", "Conv2d", "Conv3d"),
    *("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d"),
    *("MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d"),
    *("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d"),
)


def from_spikingjelly(
    net: nn.Module | Sequence[nn.Module],
    *,
    share: bool = False,
    surrogate: Surrogate | None = None,
    dtype: torch.dtype = torch.float32,
) -> nn.Sequential:
    r"""Build the equivalent of a network of SpikingJelly, with the same spikes.

    `LIFNode`, `ParametricLIFNode`, `IFNode`, `CUBALIFNode` and `NonSpikingLIFNode` become neurons of a `tt.Layer` with
    the linear module before them, named as that module; where batch norm or pooling is between, the layer's synapse
    is an identity that is not learned. A membrane that rests at `v_reset` is counted from there. A spike there is
    :math:`v \ge \theta`, here :math:`v > \theta`: the threshold becomes the next smaller number of the dtype.

    Args:
        net: an `nn.Sequential`, or the modules in their order; a forward written in Python cannot be read off.
        share: let the synapses' weights be the same parameters as there; copies by default. Neuron parameters are
            copied.
        surrogate: stand-in for the derivative of all spikes; by default the counterpart of each neuron's own.
        dtype: in which the network will run: that of the thresholds.

    Returns:
        The network; call `tt.reset` before a sequence.

    Raises:
        NotCarriedOverError: if a part has no counterpart; the message names it.
        ImportError: if `spikingjelly` is not installed.

    Source: W. Fang et al., "SpikingJelly: An open-source machine learning infrastructure platform for spike-based
    intelligence" (2023), https://doi.org/10.1126/sciadv.adi1480.

    Example:
        >>> import torch, tracetorch as tt
        >>> from spikingjelly.activation_based import neuron
        >>> theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), neuron.LIFNode(tau=2.0))
        >>> tt.scan(tt.interop.from_spikingjelly(theirs), torch.ones(10, 2, 3)).shape
        torch.Size([10, 2, 4])
    """
    layer, neuron = (require(f"spikingjelly.activation_based.{part}") for part in ("layer", "neuron"))
    kinds = {neuron.LIFNode, neuron.ParametricLIFNode, neuron.IFNode, neuron.CUBALIFNode, neuron.NonSpikingLIFNode}
    plain = {getattr(layer, name): _cast(getattr(nn, name)) for name in _PLAIN}
    plain |= {layer.Dropout: _dropout(nn.Dropout), layer.Dropout2d: _dropout(nn.Dropout2d)}
    containers = (layer.MultiStepContainer, layer.SeqToANNContainer, layer.StepModeContainer)

    def counterpart(module: nn.Module, name: str) -> Counterpart:
        return Counterpart(_neuron(module, name, surrogate, dtype))

    dialect = Dialect("SpikingJelly", "spikingjelly", kinds, counterpart, containers, plain)
    return network(net, dialect, share=share)


def _cast(kind: type[nn.Module]) -> Callable[[nn.Module], nn.Module]:
    def cast(module: nn.Module) -> nn.Module:
        module.__class__ = kind  # the program's type adds ways to call it, nothing that it computes
        return module

    return cast


def _dropout(kind: type[nn.Dropout] | type[nn.Dropout2d]) -> Callable[[nn.Module], nn.Module]:
    def dropout(module: nn.Module) -> nn.Module:
        warnings.warn("dropout draws one mask for a sequence there, and one for each step here", stacklevel=5)
        return kind(float(module.p))  # type: ignore[arg-type]

    return dropout


def _neuron(module: Any, name: str, surrogate: Surrogate | None, dtype: torch.dtype) -> Any:
    kind = type(module).__name__
    if kind == "NonSpikingLIFNode":
        if module.decode is not None:
            raise NotCarriedOverError(
                name, f"decode={module.decode!r} is over a whole sequence: apply it to the outputs"
            )
        return LI(normalized=True, beta=_decay(1 - 1 / module.tau, name))
    rest = 0.0 if module.v_reset is None else float(module.v_reset)
    if kind == "CUBALIFNode" and rest:
        raise NotCarriedOverError(
            name, f"it begins at v_reset={rest:g} and rests at 0; here a membrane begins where it rests"
        )
    threshold = torch.tensor(float(module.v_threshold) - rest, dtype=dtype)
    if threshold <= 0:
        raise NotCarriedOverError(name, f"v_threshold must lie above v_reset, got {module.v_threshold} and {rest}")
    gradient = not module.detach_reset
    options: dict[str, Any] = {
        "threshold": torch.nextafter(threshold, torch.zeros_like(threshold)),
        "surrogate": surrogate if surrogate is not None else _surrogate(module.surrogate_function, name),
        "reset": SoftReset(gradient=gradient) if module.v_reset is None else HardReset(gradient=gradient),
    }
    if kind == "IFNode":
        return IF(**options)
    if kind == "CUBALIFNode":
        decays = {"beta": _decay(module.v_decay, name), "synaptic_beta": _decay(module.c_decay, name)}
        return SynapticLIF(**decays, **options)
    if kind == "ParametricLIFNode":
        beta: float | Learnable = Learnable(_decay(1 - module.w.detach().sigmoid(), name))
    else:
        beta = _decay(1 - 1 / module.tau, name)
    return LIF(beta=beta, normalized=bool(module.decay_input), **options)


def _decay(beta: Any, name: str) -> Any:
    value = beta if isinstance(beta, Tensor) else torch.tensor(float(beta))
    if not bool(((value > 0) & (value < 1)).all()):
        raise NotCarriedOverError(name, f"its decay is {float(value):g} per step, which must lie in (0, 1)")
    return beta


def _surrogate(function: Any, name: str) -> Surrogate:
    kind = type(function).__name__
    if getattr(function, "spiking", True) and kind in ("Sigmoid", "ATan"):
        return getattr(surrogates, kind)(float(function.alpha))  # type: ignore[no-any-return]
    raise NotCarriedOverError(
        name, f"the surrogate {function} has no counterpart; choose one: surrogate=tt.surrogates.Sigmoid(4.0)"
    )
