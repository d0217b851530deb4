"""What is measured, as data: networks, workloads, and their small versions for a quick look.

Another size is one line: ``replace(WORKLOADS["W1"], steps=(500,))``. Nothing outside the standard library is imported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["iteration", "stream", "memory", "bandwidth"]
Loss = Literal["last", "every"]
Update = Literal["end", "each"]


@dataclass(frozen=True)
class Network:
    r"""Describe a network: LIF layers, then a leaky readout; no biases, one decay, threshold 1, soft reset.

    .. math:: v_t = \beta (v_{t-1} - z_{t-1}) + W x_t, \qquad z_t = [v_t > 1]

    Args:
        inputs: Shape of the input of one step, ``(units,)`` or ``(channels, height, width)``.
        hidden: Units of the hidden layers, or channels where the input is an image.
        outputs: Units of the readout.
        half_life: Half-life of every decay, in steps.
        rate: Firing rate in spikes per step at which the weights of each hidden layer are scaled to fire.
        stride: Stride of the convolutions, whose kernels are 3 by 3 with padding 1.
    """

    inputs: tuple[int, ...]
    hidden: tuple[int, ...]
    outputs: int
    half_life: float = 10.0
    rate: float = 0.1
    stride: int = 2

    @property
    def beta(self) -> float:
        """Return the decay per step."""
        return math.exp(-math.log(2) / self.half_life)

    @property
    def convolutional(self) -> bool:
        """Tell whether the hidden layers are convolutions."""
        return len(self.inputs) == 3

    def units(self) -> list[tuple[int, ...]]:
        """Return the shape of each hidden layer's units."""
        if not self.convolutional:
            return [(n,) for n in self.hidden]
        height, width = self.inputs[1:]
        shapes: list[tuple[int, ...]] = []
        for channels in self.hidden:
            height, width = ((size - 1) // self.stride + 1 for size in (height, width))
            shapes.append((channels, height, width))
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
        kind: ``iteration`` (one training iteration from a reset), ``stream`` (one learning step per time step),
            ``memory`` (peak memory over long sequences) or ``bandwidth`` (bytes per second of the scan kernel).
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
WIDE = Network(inputs=(1024,), hidden=(1024, 1024), outputs=20)
IMAGES = Network(inputs=(1, 28, 28), hidden=(16, 32), outputs=10)
SMALL = Network(inputs=(70,), hidden=(32, 32), outputs=5)
SMALL_IMAGES = Network(inputs=(1, 12, 12), hidden=(4, 8), outputs=5)

_DECADES = (100, 1_000, 10_000, 100_000, 1_000_000)

WORKLOADS: dict[str, Workload] = {
    w.name: w
    for w in (
        Workload("W1", "dense network, whole sequences", DENSE, 64, (100, 1000), losses=("last", "every")),
        Workload(
            "W2", "dense network, a stream", DENSE, 1, (1000,), ("every",), ("each", "end"), "stream", "sgd"
        ),
        Workload("W3", "dense network, long sequences", DENSE, 1, _DECADES, ("every",), ("end",), "memory", "sgd"),
        Workload("W4", "convolutional network, images", IMAGES, 32, (20,), losses=("last", "every"), density=0.2),
        Workload(
            "W5", "wide network, a GPU", WIDE, 256, (1000,), ("last", "every"), device="cuda",
            dtypes=("float32", "bfloat16"),
        ),
        Workload("W5b", "the scan kernel, a GPU", WIDE, 256, (1000,), kind="bandwidth", device="cuda"),
    )
}  # fmt: skip
"""The workloads by name."""

QUICK: dict[str, Workload] = {
    "W1": replace(WORKLOADS["W1"], network=SMALL, batch=8, steps=(20, 40), window=20),
    "W2": replace(WORKLOADS["W2"], network=SMALL, steps=(50,), window=25),
    "W3": replace(WORKLOADS["W3"], network=SMALL, steps=(100, 1000), window=50),
    "W4": replace(WORKLOADS["W4"], network=SMALL_IMAGES, batch=4, steps=(10,)),
    "W5": replace(WORKLOADS["W5"], network=SMALL, batch=8, steps=(20,), window=20),
    "W5b": replace(WORKLOADS["W5b"], network=SMALL, batch=8, steps=(20,)),
}
"""The same workloads so small that one sees soon whether everything runs: their times say nothing."""


def chosen(names: Sequence[str], *, quick: bool = False) -> list[Workload]:
    """Return workloads by name, in the order of the table of workloads.

    Args:
        names: Names such as ``W1``, in any case; none for all. ``W5`` stands for ``W5b`` too.
        quick: Take the small versions.

    Returns:
        The workloads.

    Raises:
        ValueError: A name is unknown.

    Example:
        >>> [w.batch for w in chosen(["w1"])]
        [64]
    """
    table = QUICK if quick else WORKLOADS
    wanted = {name.upper() for name in names}
    unknown = wanted - {name.upper() for name in table}
    if unknown:
        raise ValueError(f"workloads are {', '.join(table)}, got {', '.join(sorted(unknown))}")
    if not wanted:
        return list(table.values())
    return [w for w in table.values() if w.name.upper() in wanted or (w.name == "W5b" and "W5" in wanted)]
