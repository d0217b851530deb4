"""snnTorch: backpropagation through time, and through one step alone.

Form: ``snn.Leaky`` stepped by a loop over time, as its tutorials do, and, for the row ``layer by layer``, each layer
over the whole sequence before the next, which lets its synapse run once; its parallel neurons have no reset, so they
are another network. Reset: ``reset_mechanism="subtract"`` with its default delay, ``v = beta v - z + I``; with
``reset_delay=False`` it would be ours, at the price of more operations and of a gradient through the reset. A recurrent
layer is ``snn.RLeaky`` with a dense recurrent map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor, nn

from benchmarks.rivals.torch_case import Folded, TorchCase
from benchmarks.rivals.torch_case import versions as _versions


def versions() -> dict[str, str]:
    """Return the versions that the figures depend on."""
    return _versions("snntorch")


class Recurrent(nn.Module):
    """Join spikes and membrane of ``snn.RLeaky`` into one state.

    Args:
        beta: Decay per step.
        recurrent: The recurrent map.
    """

    def __init__(self, beta: float, recurrent: nn.Linear) -> None:
        super().__init__()
        units = recurrent.out_features
        self.neuron = snntorch.RLeaky(beta=beta, linear_features=units, spike_grad=surrogate.atan(alpha=2.0))
        self.neuron.recurrent = recurrent

    def reset_mem(self) -> tuple[Tensor, Tensor]:
        """Return the state at the start."""
        state: tuple[Tensor, Tensor] = self.neuron.reset_mem()
        return state

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return spikes and state of one step."""
        state = self.neuron(x, *state)
        return state[0], state


class Case(TorchCase):
    """Train with snnTorch; see `TorchCase`."""

    convention = "delayed"

    def build(self) -> nn.Module:
        """Return synapses and neurons in two lists."""
        count = len(self.weights)
        synapses = [self.synapse(i) for i in range(count)]
        if self.weights[0].dim() == 4 and self.pool == 1:
            synapses[-1] = nn.Sequential(nn.Flatten(), synapses[-1])
        self.synapses = nn.ModuleList(synapses)
        spiking: list[nn.Module] = [Recurrent(self.beta, self.linear(r)) for r in self.recurrent]
        if not spiking:
            spiking = [snntorch.Leaky(beta=self.beta, spike_grad=surrogate.atan(alpha=2.0)) for _ in range(count - 1)]
        self.neurons = nn.ModuleList([*spiking, snntorch.Leaky(beta=self.beta, reset_mechanism="none")])
        self.folded = [Folded(s) for s in synapses]
        self.state: list[Any] = []
        return nn.ModuleList([self.synapses, self.neurons])

    def reset(self) -> None:
        """Reset the membranes."""
        self.state = [neuron.reset_mem() for neuron in self.neurons]

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Run one step; return the spikes of each layer and the readout's membrane."""
        fired = []
        for i, (synapse, neuron) in enumerate(zip(self.synapses, self.neurons, strict=True)):
            x, self.state[i] = neuron(synapse(x), self.state[i])
            fired.append(x)
        return fired, self.state[-1]

    def sequence(self) -> Tensor:
        """Run the whole sequence; see `TorchCase`."""
        self.reset()
        if self.options.get("layerwise"):
            return self.layerwise()
        out = []
        for x in self.x:
            _, v = self.forward(x)
            if self.every:
                out.append(v)
        return torch.stack(out) if self.every else v

    def layerwise(self) -> Tensor:
        """Run each layer over the whole sequence before the next."""
        x = self.x
        for i, (synapse, neuron) in enumerate(zip(self.folded, self.neurons, strict=True)):
            final = i == len(self.folded) - 1
            out = []
            v = self.state[i]
            for current in synapse(x):
                z, v = neuron(current, v)
                if not final or self.every:
                    out.append(v if final else z)
            if final and not self.every:
                return v
            x = torch.stack(out)
        return x

    def step(self, x: Tensor) -> Tensor:
        """Run one step; see `TorchCase`."""
        self.state = [tuple(v.detach() for v in s) if isinstance(s, tuple) else s.detach() for s in self.state]
        return self.forward(x)[1]

    def spikes(self) -> list[Tensor]:
        """Return spikes and outputs; see `TorchCase`."""
        self.reset()
        steps = [(*fired[:-1], v) for fired, v in (self.forward(x) for x in self.x)]
        return [torch.stack(layer) for layer in zip(*steps, strict=True)]


def prepare(job: Mapping[str, Any]) -> Case:
    """Make the case of a job."""
    return Case(job)
