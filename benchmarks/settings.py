"""What is measured, as data: networks, workloads, and their small versions for a quick look.

Another size is one line: ``replace(WORKLOADS["W1"], steps=(500,))``. Nothing outside the standard library is imported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["iteration", "stream", "memory"]
Loss = Literal["last", "every"]
Update = Literal["end", "each"]


@dataclass(frozen=True)
class Network:
    r"""Describe a network: LIF layers, then a leaky readout; no biases, one decay, threshold 1, soft reset.

    .. math:: v_t = \beta (v_{t-1} - z_{t-1}) + W x_t + R z_{t-1}, \qquad z_t = [v_t > 1]

    Args:
        inputs: Shape of the input of one step, ``(units,)`` or ``(channels, height, width)``.
        hidden: Units of the hidden layers, or channels where the input is an image.
        outputs: Units of the readout.
        half_life: Half-life of every decay, in steps.
        rate: Firing rate in spikes per step at which the weights of each hidden layer are scaled to fire.
        stride: Stride of the convolutions.
        kernel: Extent of their kernels.
        padding: Zeros on each side of what they read.
        pool: Extent of the squares of which the maximum is taken behind each hidden layer of images; 1 for none.
        recurrence: Standard deviation of the recurrent weights times the root of the layer's units; 0 for none.
    """

    inputs: tuple[int, ...]
    hidden: tuple[int, ...]
    outputs: int
    half_life: float = 10.0
    rate: float = 0.1
    stride: int = 2
    kernel: int = 3
    padding: int = 1
    pool: int = 1
    recurrence: float = 0.0

    @property
    def beta(self) -> float:
        """Return the decay per step."""
        return math.exp(-math.log(2) / self.half_life)

    @property
    def convolutional(self) -> bool:
        """Return whether the hidden layers are convolutions."""
        return len(self.inputs) == 3

    def units(self) -> list[tuple[int, ...]]:
        """Return the shape of each hidden layer's units."""
        if not self.convolutional:
            return [(n,) for n in self.hidden]
        height, width = self.inputs[1:]
        shapes: list[tuple[int, ...]] = []
        for channels in self.hidden:
            around = 2 * self.padding - self.kernel
            height, width = ((size + around) // self.stride + 1 for size in (height, width))
            shapes.append((channels, height, width))
            height, width = height // self.pool, width // self.pool
        return shapes


@dataclass(frozen=True)
class Workload:
    """Describe one workload; the groups of a workload are its time steps x losses x updates x dtypes.

    Args:
        name: Its short name.
        title: What it is, in a few words.
        network: The network.
        batch: Samples in a batch.
        steps: Time steps, one group each.
        losses: Cross-entropy on the ``last`` output or on ``every`` one.
        updates: Optimizer steps: one at the ``end`` or one at ``each`` time step.
        kind: ``iteration`` (one training iteration from a reset), ``stream`` (one learning step per time step) or
            ``memory`` (peak memory over long sequences).
        optimizer: ``adam`` or ``sgd``.
        learning_rate: So small by default that a network stays as it is over all repetitions.
        window: Steps of a window, for the rules and the long sequences that go window by window.
        density: Probability of an input event per unit and step.
        device: ``cpu`` or ``cuda``.
        dtypes: Number formats of the network.
        seed: Seed of weights and data.
    """

    name: str
    title: str
    network: Network
    batch: int
    steps: tuple[int, ...]
    losses: tuple[Loss, ...] = ("last",)
    updates: tuple[Update, ...] = ("end",)
    kind: Kind = "iteration"
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-7
    window: int = 100
    density: float = 0.05
    device: Literal["cpu", "cuda"] = "cpu"
    dtypes: tuple[str, ...] = ("float32",)
    seed: int = 0

    def groups(self) -> list[Group]:
        """Return the groups: each is measured with all its rows in turn."""
        return [
            Group(self, steps, loss, update, dtype)
            for dtype in self.dtypes
            for steps in self.steps
            for loss in self.losses
            for update in self.updates
        ]


@dataclass(frozen=True)
class Group:
    """Describe what the rows of one table have in common.

    Args:
        workload: The workload.
        steps: Time steps.
        loss: ``last`` or ``every``.
        update: ``end`` or ``each``.
        dtype: Number format of the network.
    """

    workload: Workload
    steps: int
    loss: Loss
    update: Update
    dtype: str

    @property
    def name(self) -> str:
        """Return a name that no other group of a run has."""
        parts = [self.workload.name, f"T={self.steps}"]
        if len(self.workload.losses) > 1:
            parts.append(f"loss on {'the last output' if self.loss == 'last' else 'every output'}")
        if len(self.workload.updates) > 1:
            parts.append("update at each step" if self.update == "each" else "one update at the end")
        if len(self.workload.dtypes) > 1:
            parts.append(self.dtype)
        return ", ".join(parts)


DENSE = Network(inputs=(700,), hidden=(256, 256), outputs=20)
SHALLOW = replace(DENSE, hidden=(256,))
RECURRENT = replace(SHALLOW, recurrence=0.5)
WIDE = Network(inputs=(1024,), hidden=(1024, 1024), outputs=20)
IMAGES = Network(inputs=(1, 28, 28), hidden=(16, 32), outputs=10)
EVENTS = Network((2, 34, 34), (12, 32), 10, rate=0.05, stride=1, kernel=5, padding=0, pool=2)

_BOTH: tuple[Loss, ...] = ("last", "every")
_DECADES = (100, 1_000, 10_000, 100_000, 1_000_000)

WORKLOADS: dict[str, Workload] = {
    w.name: w
    for w in (
        Workload("W1", "dense network, whole sequences", DENSE, 64, (100, 1000), _BOTH),
        Workload("W1u", "a user's own neuron beside a built-in one", DENSE, 64, (100,)),
        Workload("W1l", "learned half-lives beside fixed ones", DENSE, 64, (100,)),
        Workload("W2", "dense network, a stream", DENSE, 1, (1000,), ("every",), ("each", "end"), "stream", "sgd"),
        Workload("W2v", "a call per step, variants", RECURRENT, 1, (1000,), ("every",), ("each",), "stream", "sgd"),
        Workload("W3", "dense network, long sequences", DENSE, 1, _DECADES, ("every",), ("end",), "memory", "sgd"),
        Workload("W4", "convolutional network, images", IMAGES, 32, (20,), _BOTH, density=0.2),
        Workload("W5", "wide network, a GPU", WIDE, 256, (1000,), _BOTH, device="cuda", dtypes=("float32", "bfloat16")),
        Workload("W4e", "convolutional network, events of a camera", EVENTS, 50, (20,), ("every",)),
        Workload("W6", "dense recurrence, whole sequences", RECURRENT, 64, (100,), _BOTH),
    )
}
"""The workloads by name."""


def quick(workload: Workload) -> Workload:
    """Return a workload so small that one sees soon whether everything runs; its times have no meaning."""
    network = replace(workload.network, inputs=(70,), hidden=(32,) * len(workload.network.hidden), outputs=5)
    if workload.network.convolutional:
        size = 4 * network.kernel
        network = replace(network, inputs=(1, size, size), hidden=(4, 8))
    steps = (100, 1000) if workload.kind == "memory" else tuple(20 * (i + 1) for i in range(len(workload.steps)))
    return replace(workload, network=network, batch=min(8, workload.batch), steps=steps, window=20)


def chosen(names: Sequence[str]) -> list[Workload]:
    """Return workloads by name, in the order of the table of workloads.

    Args:
        names: Names such as ``W1``, in any case; none for all.

    Returns:
        The workloads.

    Raises:
        ValueError: A name is unknown.
    """
    requested = {name.lower() for name in names}
    known = {name.lower() for name in WORKLOADS}
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        raise ValueError(f"workloads are {', '.join(WORKLOADS)}, got {', '.join(unknown)}")
    return [w for w in WORKLOADS.values() if not requested or w.name.lower() in requested]
