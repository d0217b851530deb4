"""Run leaky integrators with learned time constants under a linear map, in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from tracetorch.layer import Layer
from tracetorch.network import get_state, reset, set_state
from tracetorch.neurons import LI
from tracetorch.rl.body import Body
from tracetorch.rl.trace import FlatParameters

BETA = "parametrizations.beta.original"


def is_leaky(net: nn.Module) -> bool:
    """Return whether a network is one layer of `LI` with a learned decay per unit, then an `nn.Linear`."""
    if type(net) is not nn.Sequential or [type(m) for m in net] != [Layer, nn.Linear]:
        return False
    layer: Any = net[0]
    if type_before_parametrizations(layer.neuron) is not LI or type(layer.synapse) is not nn.Linear:
        return False
    learned = dict(layer.neuron.named_parameters()).get(BETA)
    return layer.recurrent is None and learned is not None and learned.shape == (layer.synapse.out_features,)


class LeakyBody(Body):
    r"""Run `nn.Sequential(tt.Layer(nn.Linear, tt.LI), nn.Linear)`, one row, without autograd: equal to rounding.

    .. math:: v &= \beta v + k (W x + b), \qquad y = R v + c \\
        e^W &= \beta e^W + k x, \qquad e^b = \beta e^b + k, \qquad
        e^\beta = \beta e^\beta + v_{t-1} - [\text{normalized}] (W x + b)

    Credit is :math:`R^\top` times the cotangent, times these. Under `sltt` nothing of the past is left in them.

    Args:
        net: the network; see `is_leaky`.
        trace: the trace over its parameters, of one row, into which all credit goes.

    Raises:
        ValueError: if network, rule or trace do not fit; the message says why.
    """

    def __init__(self, net: nn.Module, trace: FlatParameters) -> None:
        if not is_leaky(net):
            raise ValueError("closed form is for one layer of LI with a learned decay per unit under an nn.Linear")
        layer: Any = net[0]  # type: ignore[index]
        last: Any = net[1]  # type: ignore[index]
        if layer.rule.name not in ("drtrl", "sltt"):
            raise ValueError(f"closed form knows the rules drtrl and sltt, got {layer.rule.name!r}")
        tensors = [
            layer.synapse.weight,
            layer.synapse.bias,
            dict(layer.neuron.named_parameters())[BETA],
            last.weight,
            last.bias,
        ]
        places = {id(p): view for p, view in zip(trace.parameters, trace.split(trace.value[0]), strict=True)}
        if len(trace.value) != 1 or any(t is None or not t.is_cpu or id(t) not in places for t in tensors):
            raise ValueError("closed form is for one row on the cpu, with biases, and all parameters in the trace")
        self._net, self._trace, self._tensors = net, trace, tensors
        self._addresses = [t.data_ptr() for t in tensors]
        self._parameters: list[Any] = [t.detach().numpy() for t in tensors]
        self._targets: list[Any] = [places[id(t)].numpy() for t in tensors]
        self._full = layer.rule.name == "drtrl"
        self._normalized = layer.neuron.normalized
        self._beta: Any = None
        self._empty()

    def _empty(self) -> None:
        weight = self._parameters[0]
        self._v = np.zeros(len(weight), weight.dtype)
        self._by_weight = np.zeros_like(weight)
        self._by_bias, self._by_beta = np.zeros_like(self._v), np.zeros_like(self._v)
        self._steps = 0

    def _decay(self) -> tuple[Any, Any]:
        beta = 1.0 / (1.0 + np.exp(-self._parameters[2]))
        return beta, 1.0 - beta if self._normalized else np.ones_like(beta)

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one step; see `Body.forward`."""
        if [t.data_ptr() for t in self._tensors] != self._addresses:
            raise RuntimeError("a weight was given other memory since the agent was compiled; compile it anew")
        weight, bias, _, readout, offset = self._parameters
        beta, gain = self._decay()
        inputs = x[0].numpy()
        current = weight @ inputs + bias
        slope = self._v - current if self._normalized else self._v
        now = np.multiply.outer(gain, inputs)
        if self._full:
            self._by_weight = beta[:, None] * self._by_weight + now
            self._by_bias, self._by_beta = beta * self._by_bias + gain, beta * self._by_beta + slope
        else:
            self._by_weight, self._by_bias, self._by_beta = now, gain, slope
        self._v = beta * self._v + gain * current
        self._beta = beta
        self._steps += 1
        return torch.from_numpy(readout @ self._v + offset).unsqueeze(0)

    def ahead(self, x: Tensor) -> Tensor:
        """Return the output at the next input; see `Body.ahead`."""
        weight, bias, _, readout, offset = self._parameters
        beta, gain = self._decay()
        v = beta * self._v + gain * (weight @ x[0].numpy() + bias)
        return torch.from_numpy(readout @ v + offset).unsqueeze(0)

    def credit(self, trace: FlatParameters, cotangent: Tensor) -> None:
        """Add credit to the trace that the body was made with; see `Body.credit`."""
        if self._beta is None:
            raise RuntimeError("there is no output to give credit for: call forward before credit, once")
        if trace is not self._trace:
            raise ValueError("a compiled agent gives credit to the trace that it was made with")
        beta, self._beta = self._beta, None
        back = cotangent[0].numpy()
        signal = back @ self._parameters[3]
        weight, bias, decay, readout, offset = self._targets
        weight += signal[:, None] * self._by_weight
        bias += signal * self._by_bias
        decay += signal * self._by_beta * beta * (1.0 - beta)
        readout += np.multiply.outer(back, self._v)
        offset += back

    def forget(self, mask: Tensor | None = None) -> None:
        """Begin a new episode; see `Body.forget`."""
        if mask is None or bool(mask.all()):
            self._empty()
            self._beta = None

    def another(self) -> LeakyBody:
        """Return one with a state of its own; see `Body.another`."""
        return LeakyBody(self._net, self._trace)

    def state(self) -> dict[str, Tensor]:
        """Return what the network carries, as the layer would have it; see `Body.state`."""
        if not self._steps:
            return {}
        held = {"s.0": self._v[None], "steps": np.full(1, self._steps, self._v.dtype)}
        if self._full:
            held["traces.weight.0.0"] = self._by_weight[None, None, :, None, :]
            held["traces.neuron.bias.0/0"] = self._by_bias[None]
            held["traces.neuron.beta/0"] = self._by_beta[None]
        return {f"0/{name}": torch.from_numpy(value.copy()) for name, value in held.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        reset(self._net)
        set_state(self._net, state)  # it refuses what does not fit
        held = get_state(self._net)
        reset(self._net)
        self._empty()
        self._beta = None
        if held:
            self._v = held["0/s.0"][0].numpy().copy()
            self._steps = int(held["0/steps"][0])
        if held and self._full:
            self._by_weight = held["0/traces.weight.0.0"].numpy().reshape(self._by_weight.shape).copy()
            self._by_bias = held["0/traces.neuron.bias.0/0"][0].numpy().copy()
            self._by_beta = held["0/traces.neuron.beta/0"][0].numpy().copy()
