"""What the rivals that use torch have in common: data, weights, loss, optimizer, the kinds of workloads.

This module and those beside it run in the rivals' own environments, where this library is not: they import torch, numpy
and their library alone.
"""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def versions(package: str) -> dict[str, str]:
    """Return the versions of a package, torch and Python."""
    return {package: metadata.version(package), "torch": str(torch.__version__), "python": platform.python_version()}


class TorchCase(ABC):
    """Train a rival's network as a row says; a rival gives the network.

    Args:
        job: The job; see `benchmarks.worker`.
    """

    convention = "decayed"
    """How a spike's reset meets the decay; see `benchmarks.own`."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        torch.set_num_threads(job["threads"])
        self.group, self.workload, self.options = job["group"], job["workload"], job["row"]["options"]
        self.device, self.dtype = self.workload["device"], getattr(torch, self.group["dtype"])
        arrays = dict(np.load(job["data"]))
        self.beta = float(arrays["beta"])
        network = self.workload["network"]
        self.pool = network["pool"]
        self.geometry = {"kernel_size": network["kernel"], "stride": network["stride"], "padding": network["padding"]}
        self.x = self.tiled(torch.from_numpy(arrays["x"])).to(self.device, self.dtype)
        self.y = torch.from_numpy(arrays["y"]).to(self.device)
        self.weights = [torch.from_numpy(arrays[f"w{i}"]) for i in range(len(self.workload["network"]["hidden"]) + 1)]
        self.recurrent = [torch.from_numpy(arrays[name]) for name in sorted(arrays) if name[0] == "r"]
        self.every = self.group["loss"] == "every"
        self.net = self.build().to(self.device, self.dtype)
        makers: dict[str, Callable[..., torch.optim.Optimizer]] = {
            "adam": partial(torch.optim.Adam, fused=True),
            "sgd": torch.optim.SGD,
        }
        self.opt = makers[self.workload["optimizer"]](self.net.parameters(), lr=self.workload["learning_rate"])

    def tiled(self, x: Tensor) -> Tensor:
        """Return the data, repeated to the length of the sequence where the file is shorter."""
        times = -(-self.group["steps"] // x.shape[0])
        return x if times == 1 else x.repeat(times, *[1] * (x.dim() - 1))[: self.group["steps"]]

    def synapse(self, index: int, gain: float = 1.0) -> nn.Module:
        """Return a layer's synapse with the weights of the file times a gain, and no bias; behind the pool below."""
        made = self.linear(self.weights[index] * gain)
        if self.pool == 1 or index == 0:
            return made
        flat = [nn.Flatten()] if isinstance(made, nn.Linear) else []
        return nn.Sequential(nn.MaxPool2d(self.pool), *flat, made)

    def linear(self, weight: Tensor) -> nn.Module:
        """Return a linear map or a convolution with these weights, and no bias."""
        outputs, inputs = weight.shape[:2]
        made: nn.Module
        if weight.dim() == 4:
            made = nn.Conv2d(inputs, outputs, **self.geometry, bias=False)
        else:
            made = nn.Linear(inputs, outputs, bias=False)
        made.weight.data.copy_(weight)
        return made

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network, or a module that holds its parameters."""

    @abstractmethod
    def sequence(self) -> Tensor:
        """Run the whole sequence from a reset: ``[T, B, out]`` where each output has a loss, else ``[B, out]``."""

    @abstractmethod
    def reset(self) -> None:
        """Reset the state."""

    @abstractmethod
    def step(self, x: Tensor) -> Tensor:
        """Run one step from the state of the last, which is cut off from the graph: ``[B, out]``."""

    @abstractmethod
    def spikes(self) -> list[Tensor]:
        """Return each hidden layer's spikes over the sequence from a reset, ``[T, B, ...]``, and the outputs last."""

    def iterate(self) -> None:
        """Run one repetition."""
        if self.workload["kind"] == "stream" and self.group["update"] == "each":
            self.stream()
        else:
            self.whole()
        if self.x.is_cuda:
            torch.cuda.synchronize()

    def whole(self) -> None:
        """Backpropagate through the whole sequence and take one step of the optimizer."""
        self.opt.zero_grad()
        self.loss(self.sequence()).backward()
        self.opt.step()

    def loss(self, out: Tensor) -> Tensor:
        """Return the cross-entropy of the outputs, averaged."""
        if out.dim() == 2:
            return cross_entropy(out.float(), self.y)
        return cross_entropy(out.flatten(0, 1).float(), self.y.expand(out.shape[0], -1).flatten())

    def stream(self) -> None:
        """Learn at every step, the graph cut at every step."""
        self.reset()
        for x in self.x:
            cross_entropy(self.step(x), self.y).backward()
            self.optimizer()

    def optimizer(self) -> None:
        """Take one step of the optimizer and clear the gradients."""
        self.opt.step()
        self.opt.zero_grad()

    def warm(self) -> None:
        """Run a few steps of a long sequence, so that what is set up once is set up."""
        whole, self.x = self.x, self.x[: self.workload["window"]]
        self.iterate()
        self.x = whole

    def device_mb(self) -> float | None:
        """Return the peak of the GPU's memory in MB; None on a CPU."""
        return torch.cuda.max_memory_allocated() / 1e6 if self.x.is_cuda else None

    def report(self) -> dict[str, Any]:
        """Return firing rates and loss as the network is now, over the steps that the file has."""
        whole = self.x
        self.x = whole[:1000]
        with torch.no_grad():
            *hidden, out = self.spikes()
            rates = [float(z.float().mean()) for z in hidden]
            loss = float(cross_entropy(out[-1].float(), self.y))
        self.x = whole
        return {"rates": rates, "loss": loss, "convention": self.convention}


class Folded(nn.Module):
    """Apply a module to all steps at once: ``[T, B, ...]``.

    Args:
        module: The module.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Return the module's output with time and batch apart again."""
        out: Tensor = self.module(x.flatten(0, 1))
        return out.unflatten(0, x.shape[:2])
