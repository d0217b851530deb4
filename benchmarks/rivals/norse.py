"""Norse: backpropagation through time, and through one step alone.

Form: ``SequentialState`` of synapses over the whole sequence and ``LIFBoxCell``, the LIF without a synaptic current,
run over time by Norse's own ``SNN``; a convolution runs on all steps at once rather than in ``Lift``, which loops.
Norse scales currents by ``dt * tau_mem_inv = 1 - beta``, so its weights are ours over that. It has no arctangent
surrogate: its default, SuperSpike, is taken. Its subtracting reset keeps its gradient; the parameter for the reset is
given ours, detached. A recurrent layer is the same neuron, its last spikes through a dense map, run by ``SNN``: Norse's
own recurrent cells have a synaptic current besides, which is another network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import norse.torch as norse
import torch
from norse.torch.functional.leaky_integrator_box import LIBoxParameters
from norse.torch.functional.lif_box import LIFBoxParameters, LIFBoxState, lif_box_feed_forward_step
from norse.torch.module.leaky_integrator_box import LIBoxCell
from norse.torch.module.lif_box import LIFBoxCell
from norse.torch.module.snn import SNN, SNNCell
from torch import Tensor, nn

from benchmarks.rivals.torch_case import Folded, TorchCase
from benchmarks.rivals.torch_case import versions as _versions

_DT = 0.001


def versions() -> dict[str, str]:
    """Return the versions that the figures depend on."""
    return _versions("norse")


def detached_reset(z: Tensor, v: Tensor, value: Tensor, threshold: Tensor) -> Tensor:
    """Subtract the threshold where there was a spike, the gradient through the spike left out."""
    return v - z.detach() * threshold


def over_time(cell: SNNCell) -> SNN:
    """Return a cell's layer over whole sequences."""
    return SNN(cell.activation, cell.state_fallback, cell.p, cell.dt)


def recurrent(synapse: nn.Module, p: LIFBoxParameters) -> SNN:
    """Return a layer over whole sequences whose spikes come back through a synapse one step later."""

    def step(x: Tensor, state: LIFBoxState, p: LIFBoxParameters, dt: float) -> tuple[Tensor, LIFBoxState]:
        z, after = lif_box_feed_forward_step(x + synapse(state.z), state, p, dt)
        return z, LIFBoxState(z=z, v=after.v)

    def start(x: Tensor) -> LIFBoxState:
        return LIFBoxState(z=torch.zeros_like(x[0]), v=torch.zeros_like(x[0]))

    layer = SNN(step, start, p, _DT)
    layer.synapse = synapse
    return layer


class Case(TorchCase):
    """Train with Norse; see `TorchCase`."""

    def build(self) -> nn.Module:
        """Return the network, for whole sequences or for single steps."""
        inverse = torch.tensor((1 - self.beta) / _DT)
        p = LIFBoxParameters(tau_mem_inv=inverse, alpha=torch.tensor(2.0), reset_method=detached_reset)
        readout = LIBoxParameters(tau_mem_inv=inverse)
        leaky = LIBoxCell(readout, dt=_DT)
        steps = self.group["update"] == "each"
        gain = 1 / (1 - self.beta)
        modules: list[nn.Module] = []
        self.spiking: list[int] = []
        for i in range(len(self.weights) - 1):
            synapse = self.synapse(i, gain)
            modules.append(Folded(synapse) if self.weights[i].dim() == 4 and not steps else synapse)
            if self.recurrent:
                modules.append(recurrent(self.linear(self.recurrent[i] * gain), p))
            else:
                modules.append(LIFBoxCell(p, dt=_DT) if steps else over_time(LIFBoxCell(p, dt=_DT)))
            self.spiking.append(len(modules) - 1)
        if self.weights[0].dim() == 4:
            modules.append(nn.Flatten(1 if steps else 2))
        modules += [self.synapse(-1, gain), leaky if steps else over_time(leaky)]
        self.state: list[Any] | None = None
        return norse.SequentialState(*modules)

    def reset(self) -> None:
        """Reset the state."""
        self.state = None

    def sequence(self) -> Tensor:
        """Run the whole sequence; see `TorchCase`."""
        out: Tensor = self.net(self.x)[0]
        return out if self.every else out[-1]

    def step(self, x: Tensor) -> Tensor:
        """Run one step; see `TorchCase`."""
        if self.state is not None:
            self.state = [None if s is None else type(s)(v=s.v.detach()) for s in self.state]
        out, self.state = self.net(x, self.state)
        return out

    def spikes(self) -> list[Tensor]:
        """Return spikes and outputs; see `TorchCase`."""
        self.net.return_hidden = True
        if self.group["update"] == "each":
            state, steps = None, []
            for x in self.x:
                hidden, state = self.net(x, state)
                steps.append(hidden)
            hidden = [torch.stack(layer) for layer in zip(*steps, strict=True)]
        else:
            hidden = self.net(self.x)[0]
        self.net.return_hidden = False
        return [hidden[i] for i in (*self.spiking, -1)]


def prepare(job: Mapping[str, Any]) -> Case:
    """Make the case of a job."""
    return Case(job)
