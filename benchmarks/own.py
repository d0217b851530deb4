"""This library's rows, as `worker` runs them.

Public names alone are used, so that another installed version runs the same rows.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import tracetorch as tt

CONVENTIONS = {"decayed": True, "delayed": False}
"""How a spike's reset meets the decay: ``beta (v - z) + I`` (decayed) or ``beta v - z + I`` (delayed)."""


def versions() -> dict[str, str]:
    """Return the versions that the figures depend on, and the folder that this library was imported from."""
    return {
        "tracetorch": tt.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "from": str(Path(tt.__file__).parents[1]),
    }


class Adaptive(tt.Neuron):
    """The README's example of a user's own neuron."""

    state = ("v", "a")

    def step(self, s: Any, current: Tensor) -> Any:
        """Return the next state and the spikes."""
        v = self.beta * s.v + current
        z = self.surrogate(v - self.threshold - 0.3 * s.a)
        return s.replace(v=v - z * self.threshold, a=0.95 * s.a + z), z


def neuron_of(kind: str, beta: Any, convention: str) -> tt.Neuron:
    """Return a hidden layer's neuron.

    Args:
        kind: ``lif``, ``alif`` or ``adaptive``, a user's own neuron of the same equation.
        beta: Its decay per step, as the constructor takes it.
        convention: See `CONVENTIONS`.

    Returns:
        The neuron.
    """
    if kind == "adaptive":
        return Adaptive(beta=beta)
    if kind == "alif":
        return tt.ALIF(beta=beta, adaptation_beta=0.95, adaptation=0.3)
    return tt.LIF(beta=beta, reset=tt.SoftReset(decayed=CONVENTIONS[convention]))


def build(
    arrays: Mapping[str, Any],
    workload: Mapping[str, Any],
    *,
    decays: str = "shared",
    convention: str = "decayed",
    options: Mapping[str, Any] | None = None,
) -> nn.Sequential:
    """Build the network of a workload with the weights of the file.

    Args:
        arrays: The arrays of the group.
        workload: The workload's fields.
        decays: ``shared`` or ``neuron``.
        convention: ``decayed`` or ``delayed``; see `CONVENTIONS`.
        options: The row's: ``neuron`` (see `neuron_of`), ``learned`` (each unit learns its decay), ``recurrent``
            (False leaves recurrent weights out).

    Returns:
        The network.
    """
    options = options or {}
    beta = float(arrays["beta"])
    weights = [torch.from_numpy(arrays[f"w{i}"]) for i in range(len(workload["network"]["hidden"]) + 1)]
    network = workload["network"]
    modules: list[nn.Module] = []
    for i, weight in enumerate(weights[:-1]):
        own: Any = torch.from_numpy(arrays[f"beta{i}"]) if decays == "neuron" else beta
        if options.get("learned"):
            own = tt.Learnable(own, shape=(len(weight),))
        recurrent = torch.from_numpy(arrays[f"r{i}"]) if f"r{i}" in arrays and options.get("recurrent", True) else None
        neuron = neuron_of(options.get("neuron", "lif"), own, convention)
        modules.append(
            tt.Layer(
                synapse(weight, network), neuron, recurrent=None if recurrent is None else synapse(recurrent, network)
            )
        )
        if network["pool"] > 1:
            modules.append(nn.MaxPool2d(network["pool"]))
    if weights[0].dim() == 4:
        modules.append(nn.Flatten())
    modules.append(tt.Layer(synapse(weights[-1], network), tt.LI(beta=beta)))
    return nn.Sequential(*modules)


def synapse(weight: Tensor, network: Mapping[str, Any]) -> nn.Module:
    """Return a linear map or a convolution with these weights and no bias."""
    outputs, inputs = weight.shape[:2]
    made: nn.Module
    if weight.dim() == 4:
        made = nn.Conv2d(inputs, outputs, network["kernel"], network["stride"], network["padding"], bias=False)
    else:
        made = nn.Linear(inputs, outputs, bias=False)
    made.weight.data.copy_(weight)
    return made


def set_rule(net: nn.Sequential, name: str) -> None:
    """Set a preset as the rule, in the approximate form where the layers allow no other."""
    preset = tt.rules.PRESETS[name]
    try:
        tt.set_rule(net, preset())
    except ValueError:
        tt.set_rule(net, preset(approximate=True))


class Case:
    """Train a network as a row says.

    Args:
        job: The job; see `benchmarks.worker`.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        torch.set_num_threads(job["threads"])
        self.job, self.group, self.workload = job, job["group"], job["workload"]
        self.options = job["row"]["options"]
        self.arrays = dict(np.load(job["data"]))
        device, dtype = self.workload["device"], getattr(torch, self.group["dtype"])
        self.x = torch.from_numpy(self.arrays["x"]).to(device, dtype)
        self.y = torch.from_numpy(self.arrays["y"]).to(device)
        net = build(self.arrays, self.workload, decays=job["row"]["decays"], options=self.options)
        self.net = net.to(device, dtype)
        self.rule, self.way = self.options.get("rule"), self.options.get("way", "call")
        if self.rule is not None:
            set_rule(self.net, self.rule)
        self.step: Callable[[Tensor], Tensor] = torch.compile(self.net) if self.way == "compiled" else self.net
        makers: dict[str, Callable[..., torch.optim.Optimizer]] = {
            "adam": partial(torch.optim.Adam, fused=True),
            "sgd": torch.optim.SGD,
        }
        self.opt = makers[self.workload["optimizer"]](self.net.parameters(), lr=self.workload["learning_rate"])
        windowed = self.options.get("window", False)
        self.window = self.workload["window"] if windowed else self.x.shape[0]
        self.train = self._chosen()

    def _chosen(self) -> Callable[[], None]:
        if self.rule is None:
            return self.infer
        if self.way == "stream":
            self.one_step = tt.Stream(self.net, lr=self.workload["learning_rate"], loss="cross_entropy")
            return self.one_call
        if self.workload["kind"] == "stream" and self.way != "scan":
            return self.stream
        return self.whole

    def iterate(self) -> None:
        """Run one repetition from a reset."""
        tt.reset(self.net)
        self.train()
        if self.x.is_cuda:
            torch.cuda.synchronize()

    def warm(self) -> None:
        """Run one repetition, or a few windows of a long sequence."""
        steps = self.group["steps"]
        if self.workload["kind"] == "memory":
            self.group["steps"] = min(steps, 3 * self.workload["window"])
        self.iterate()
        self.group["steps"] = steps

    def windows(self) -> Iterator[tuple[Tensor, bool]]:
        """Yield the windows of a repetition, and which is the last; data repeat where the file is shorter."""
        total, size, held = self.group["steps"], self.window, self.x.shape[0]
        if total > held and held % size:
            raise ValueError(f"the window of {size} steps must divide the file's {held}")
        for s in range(0, total, size):
            yield self.x[s % held : min(s % held + size, total)], s + size >= total

    def infer(self) -> None:
        """Run the network without learning."""
        with torch.no_grad():
            tt.scan(self.net, self.x, out=self.group["loss"] if self.group["loss"] == "last" else "all")

    def whole(self) -> None:
        """Train on the sequence, window by window, with one step of the optimizer; long sequences: one a window."""
        each_window = self.workload["kind"] == "memory" and self.rule != "bptt"
        self.opt.zero_grad()
        held: list[Tensor] = []
        for xs, final in self.windows():
            if self.group["loss"] == "every":
                held.append(self.every_loss(tt.scan(self.net, xs)))
            else:
                y = tt.scan(self.net, xs, out="last")
                held = [nn.functional.cross_entropy(y.float(), self.y)] if final else []
            if held and (final or self.rule != "bptt"):
                torch.stack(held).sum().backward()
                held = []
            if final or each_window:
                self.optimizer()

    def every_loss(self, ys: Tensor) -> Tensor:
        """Return the cross-entropy of every output, summed over steps and averaged over samples and the sequence."""
        target = self.y.expand(ys.shape[0], -1).flatten()
        total = nn.functional.cross_entropy(ys.flatten(0, 1).float(), target, reduction="sum")
        mean: Tensor = total / (self.group["steps"] * self.y.shape[0])
        return mean

    def stream(self) -> None:
        """Learn at every step: forward, backward and, where each step has an update, the optimizer."""
        each = self.group["update"] == "each"
        for x in self.x:
            loss = nn.functional.cross_entropy(self.step(x), self.y)
            loss.backward()
            if each:
                self.optimizer()
        if not each:
            self.optimizer()

    def one_call(self) -> None:
        """Learn at every step in one compiled call: forward, loss, credit and update."""
        self.one_step.reset()
        for x in self.x:
            self.one_step(x, self.y)

    def optimizer(self) -> None:
        """Take one step of the optimizer and clear the gradients."""
        self.opt.step()
        self.opt.zero_grad()

    def device_mb(self) -> float | None:
        """Return the peak of the GPU's memory in MB; None on a CPU."""
        return torch.cuda.max_memory_allocated() / 1e6 if self.x.is_cuda else None

    def report(self) -> dict[str, Any]:
        """Return firing rates and loss as the network is now."""
        variant = {"neuron", "learned", "recurrent"} & set(self.options)
        return {"convention": "" if variant else "decayed", **observe(self.net, self.x, self.y)}


class Reference:
    """Run the network of a group under each convention of the reset and each kind of decays.

    Args:
        job: The job; see `benchmarks.worker`.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.job = job
        torch.set_num_threads(job["threads"])

    def report(self) -> dict[str, Any]:
        """Return rates and loss by ``convention decays``, with the numbers of ``decayed shared`` on top."""
        arrays, workload = dict(np.load(self.job["data"])), self.job["workload"]
        x, y = torch.from_numpy(arrays["x"]).float(), torch.from_numpy(arrays["y"])
        kinds = ["shared"] if workload["network"]["inputs"][1:] else ["shared", "neuron"]
        found = {}
        for convention in CONVENTIONS:
            for decays in kinds:
                net = build(arrays, workload, decays=decays, convention=convention)
                found[f"{convention} {decays}"] = observe(net, x, y)
        return found


def observe(net: nn.Sequential, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Return a network's firing rates, spikes per step of each hidden layer, and its loss on the last output."""
    tt.reset(net)
    rates = []
    with torch.no_grad():
        for module in net:
            x = tt.scan(module, x)
            if isinstance(module, tt.Layer):
                rates.append(float(x.float().mean()))
        loss = nn.functional.cross_entropy(x[-1].float(), y)
    tt.reset(net)
    return {"rates": rates[:-1], "loss": float(loss)}


def prepare(job: Mapping[str, Any]) -> Any:
    """Make the case of a job."""
    if job["row"]["method"] == "reference":
        return Reference(job)
    return Case(job)
