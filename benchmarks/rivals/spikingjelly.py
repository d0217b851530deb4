"""SpikingJelly: backpropagation through time in its multi-step mode, its OTTT, and single steps cut from each other.

Form: multi-step layers, ``layer.Linear(step_mode="m")`` and ``neuron.LIFNode(step_mode="m")``; since version 2 the
neuron picks its kernel by itself, torch's on a CPU, its own or Triton's on a GPU. Its leaky readout scales currents by
``1 / tau = 1 - beta``: the readout's weights are ours over that. OTTT: ``layer.OTTTSequential`` with ``OTTTLIFNode``,
stepped as ``functional.ottt_online_training`` does; as there, the first synapse is given plain input, not a trace of
it, and where the last output alone has a loss, the steps before run without a graph. A recurrent layer is
``layer.LinearRecurrentContainer`` with one map ``[W|R]`` of its input and its last spikes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.rivals.torch_case import TorchCase
from benchmarks.rivals.torch_case import versions as _versions


def versions() -> dict[str, str]:
    """Return the versions that the figures depend on."""
    return _versions("spikingjelly")


class Case(TorchCase):
    """Train with SpikingJelly through time, in its multi-step mode; see `TorchCase`."""

    mode = "m"

    @property
    def tau(self) -> float:
        """Return the time constant whose decay per step is ours."""
        return 1 / (1 - self.beta)

    def lif(self, kind: type[neuron.LIFNode] = neuron.LIFNode, mode: str = "m") -> nn.Module:
        """Return a neuron of our equation."""
        return kind(
            tau=self.tau,
            decay_input=False,
            v_reset=None,
            surrogate_function=surrogate.ATan(alpha=2.0),
            detach_reset=True,
            step_mode=mode,
        )

    def build(self) -> nn.Module:
        """Return the network."""
        modules: list[nn.Module] = []
        for i, weight in enumerate(self.weights[:-1]):
            if self.recurrent:
                units = len(weight)
                container = layer.LinearRecurrentContainer(self.lif(mode="s"), units, units, bias=False, step_mode="m")
                container.rc = self.linear(torch.cat([weight, self.recurrent[i]], 1))
                modules.append(container)
                continue
            if weight.dim() == 4:
                made = layer.Conv2d(weight.shape[1], weight.shape[0], **self.geometry, bias=False, step_mode="m")
            else:
                made = layer.Linear(weight.shape[1], weight.shape[0], bias=False, step_mode="m")
            made.weight.data.copy_(weight)
            modules += [made, self.lif()]
            if self.pool > 1:
                modules.append(layer.MaxPool2d(self.pool, step_mode="m"))
        if self.weights[0].dim() == 4:
            modules.append(layer.Flatten(step_mode="m"))
        weight = self.weights[-1]
        made = layer.Linear(weight.shape[1], weight.shape[0], bias=False, step_mode="m")
        made.weight.data.copy_(weight * self.tau)
        self.readout = neuron.NonSpikingLIFNode(tau=self.tau, decode=None if self.every else "last_mem")
        return nn.Sequential(*modules, made, self.readout)

    def reset(self) -> None:
        """Reset the state."""
        functional.reset_net(self.net)

    def sequence(self) -> Tensor:
        """Run the whole sequence; see `TorchCase`."""
        self.reset()
        out = self.net(self.x)
        return torch.stack(out) if self.every else out

    def step(self, x: Tensor) -> Tensor:
        """Single steps are another case."""
        raise NotImplementedError

    def spikes(self) -> list[Tensor]:
        """Return spikes and outputs; see `TorchCase`."""
        self.reset()
        x, found = self.x, []
        for module in self.net[:-1]:
            x = module(x)
            if isinstance(module, neuron.LIFNode | layer.LinearRecurrentContainer):
                found.append(x)
        decode, self.readout.decode = self.readout.decode, None
        out = torch.stack(self.readout(x))
        self.readout.decode = decode
        self.reset()
        return [*found, out]


class Leaky(nn.Module):
    """Integrate the readout's currents step by step, each cut off from the last.

    Args:
        beta: Decay per step.
    """

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.v: Tensor | None = None

    def forward(self, current: Tensor) -> Tensor:
        """Return the membrane after one step."""
        self.v = current if self.v is None else self.beta * self.v.detach() + current
        return self.v


class Steps(Case):
    """Train step by step: with OTTT, or plainly with the graph cut; see `TorchCase`."""

    def build(self) -> nn.Module:
        """Return the network."""
        online = self.options["method"] == "ottt"
        kind = neuron.OTTTLIFNode if online else neuron.LIFNode
        modules: list[nn.Module] = []
        for i in range(len(self.weights) - 1):
            modules += [self.synapse(i), self.lif(kind, "s")]
        if self.weights[0].dim() == 4:
            modules.append(nn.Flatten())
        modules += [self.synapse(-1), Leaky(self.beta)]
        return layer.OTTTSequential(*modules) if online else nn.Sequential(*modules)

    def reset(self) -> None:
        """Reset the state."""
        functional.reset_net(self.net)
        self.net[-1].v = None

    def step(self, x: Tensor) -> Tensor:
        """Run one step; see `TorchCase`."""
        if self.options["method"] != "ottt":
            functional.detach_net(self.net)
        out: Tensor = self.net(x)
        return out

    def sequence(self) -> Tensor:
        """Whole sequences are another case."""
        raise NotImplementedError

    def whole(self) -> None:
        """Learn at every step, or at the last, with one step of the optimizer; long sequences: one a window."""
        self.reset()
        self.opt.zero_grad()
        steps, window = self.group["steps"], self.workload["window"]
        long = self.workload["kind"] == "memory"
        for t in range(steps):
            x = self.x[t % self.x.shape[0]]
            if self.every:
                (cross_entropy(self.step(x).float(), self.y) / steps).backward()
            elif t < steps - 1:
                with torch.no_grad():
                    self.step(x)
            else:
                cross_entropy(self.step(x).float(), self.y).backward()
            if t == steps - 1 or (long and (t + 1) % window == 0):
                self.optimizer()

    def tiled(self, x: Tensor) -> Tensor:
        """Return the data as they are: steps go through them again and again."""
        return x

    def warm(self) -> None:
        """Run a few steps of a long sequence."""
        steps, self.group["steps"] = self.group["steps"], self.workload["window"]
        self.iterate()
        self.group["steps"] = steps

    def spikes(self) -> list[Tensor]:
        """Return spikes and outputs; see `TorchCase`."""
        self.reset()
        found: list[list[Tensor]] = []
        for x in self.x:
            row = []
            for module in self.net:
                out = module(x)
                x = out[0] if isinstance(out, list) else out
                if isinstance(module, neuron.LIFNode):
                    row.append(x)
            found.append([*row, x])
        self.reset()
        return [torch.stack(z) for z in zip(*found, strict=True)]


def prepare(job: Mapping[str, Any]) -> TorchCase:
    """Make the case of a job."""
    return Case(job) if job["row"]["options"].get("method", "bptt") == "bptt" else Steps(job)
