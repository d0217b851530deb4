"""What a forward leaves behind for credit, and what a layer carries from window to window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tracetorch.neurons.base import Neuron
from tracetorch.neurons.blocks import Blocks
from tracetorch.ops import walk
from tracetorch.ops.walk import Backend
from tracetorch.synapses import Synapse
from tracetorch.traces.plan import Plan, Values

BIAS = "bias."
"""Prefix of the biases' names among the parameters."""


@dataclass(frozen=True)
class Afferent:
    """Pair a synapse with what it was given in a window.

    Args:
        synapse: the adapter.
        x: inputs, `[T, B, *in]`, without a graph.
        traced: whether its weights learn.
        sparse: whether its inputs are worth walking by their events.
        fresh: the window's contribution to a presynaptic trace where a kernel has formed it, `[S, B, *in]`.
    """

    synapse: Synapse
    x: Tensor
    traced: bool
    sparse: bool = False
    fresh: Tensor | None = None

    def features(self) -> Tensor:
        """Return the window's features, `[T B, *features]`."""
        return self.synapse.features(self.x.reshape(-1, *self.x.shape[2:]))

    def weight_grad(self, q: Tensor) -> tuple[Tensor, ...]:
        """Return the weights' gradients from the currents' cotangents, `[T B, *unit]`."""
        if self.sparse:
            return (walk.weight_grad(self.x.reshape(-1, self.x.shape[-1]), q),)
        return self.synapse.weight_grad(self.features(), q)


@dataclass(frozen=True)
class Record:
    """Hold what a neuron went through in a window.

    Args:
        neuron: the neuron, bound to the parameters of that time.
        before: states and counters before each step, `[T, B, *unit]` each; empty where kernels form them anew.
        drive: currents, `[T, B, *unit]`.
        params: values of the learned neuron parameters by name.
        biases: names under which biases stand among the parameters.
        step: the neuron's step on plain numbers where compiled kernels serve the window, else None.
        backend: whose kernels serve it.
        s: states and counters before the window, `[B, *unit]` each, where compiled kernels serve it.
    """

    neuron: Neuron
    before: tuple[Tensor, ...]
    drive: Tensor
    params: Mapping[str, Tensor]
    biases: tuple[str, ...]
    step: Any = None
    backend: Backend = "reference"
    s: tuple[Tensor, ...] = ()

    def step_params(self) -> list[Tensor]:
        """Return the values that the step on plain numbers takes, `[N]` or one number each."""
        unit = self.drive.shape[2:]
        found = [getattr(self.neuron, name).detach() for name in self.step.parameters]
        return [v.reshape(()) if v.numel() == 1 else v.expand(unit).reshape(-1) for v in found]


@dataclass(frozen=True)
class Window:
    """Hold everything of one window that credit needs.

    Args:
        plan: the resolved rule.
        values: its numbers.
        afferents: inputs by synapse: the layer's own, then the recurrent one.
        record: what the neuron went through, from which its blocks are taken when they are needed.
        steps: T.
        batch: B.
        unit: shape of the units.
        keep: `[B]`, zero for rows that were reset at the window's start, or None.
        counted: whether spikes are counted for a rate term.
    """

    plan: Plan
    values: Values
    afferents: Sequence[Afferent]
    record: Record
    steps: int
    batch: int
    unit: tuple[int, ...]
    keep: Tensor | None
    counted: bool

    @cached_property
    def blocks(self) -> Blocks:
        """The neuron's Jacobian blocks, entries broadcasting to `[T, B, *unit]`."""
        return self.record.neuron.blocks(self.record.before, self.record.drive, self.record.params)

    @property
    def size(self) -> int:
        """S, the number of state variables."""
        return len(self.record.neuron.state)

    @property
    def learned(self) -> tuple[str, ...]:
        """Names of the neuron's learned parameters, biases apart."""
        return tuple(self.record.params)

    @property
    def rank(self) -> int:
        """Number of dimensions of an entry that varies in time."""
        return 2 + len(self.unit)

    @property
    def weight_blocks(self) -> Blocks:
        """The blocks with which the weights' credit goes back: the presynaptic trace's own where there is one."""
        a, b = self.values.transition, self.values.drive
        if a is None or b is None:
            return self.blocks
        rows = [[a[i, j] for j in range(self.size)] for i in range(self.size)]
        return Blocks(rows, list(b), self.blocks.D, self.blocks.psi)

    def kept(self, value: Tensor) -> Tensor:
        """Return per-row values `[..., B, *unit]` of the carried past, zero in rows that were reset."""
        if self.keep is None:
            return value
        return value * self.keep.reshape(-1, *[1] * len(self.unit)).to(value.dtype)


@dataclass
class Traces:
    """Hold what is carried for credit; lists run over the states, then the filters.

    Args:
        weight: per afferent, the eligibility by state: `[B, *features]` (pre) or `[B, G, O, L, K]` (full).
        filtered: per afferent, the filtered eligibility by filter, `[B, G, O, L, K]`.
        neuron: per bias or neuron parameter, its eligibility by state and filter, `[B, *unit]`.
    """

    weight: list[list[Tensor]] = field(default_factory=list)
    filtered: list[list[Tensor]] = field(default_factory=list)
    neuron: dict[str, list[Tensor]] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by a flat name."""
        flat: dict[str, Tensor] = {}
        for kind, table in (("weight", self.weight), ("filtered", self.filtered)):
            for i, row in enumerate(table):
                flat.update({f"{kind}.{i}.{j}": x for j, x in enumerate(row)})
        for name, row in self.neuron.items():
            flat.update({f"neuron.{name}/{j}": x for j, x in enumerate(row)})
        return flat

    @staticmethod
    def from_tensors(flat: dict[str, Tensor]) -> Traces:
        """Return the traces that `tensors` gave, read back."""
        traces = Traces()
        for key, value in flat.items():
            kind, _, rest = key.partition(".")
            if kind == "neuron":
                traces.neuron.setdefault(rest.rpartition("/")[0], []).append(value)
                continue
            table = traces.weight if kind == "weight" else traces.filtered
            index = int(rest.partition(".")[0])
            while len(table) <= index:
                table.append([])
            table[index].append(value)
        return traces


def filter_decays(window: Window) -> list[Tensor | float]:
    """Return the decays of the filters whose traces are carried: the output filter, then the spike count."""
    decays: list[Tensor | float] = [window.values.filter] if window.plan.filtered else []
    return [*decays, 1.0] if window.counted else decays


def as_scalar(value: Tensor | float, like: Tensor) -> Tensor:
    """Return a number or tensor in the dtype and on the device of `like`."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)


def join(windows: Sequence[Window]) -> Window:
    """Return windows that follow one another as one."""
    first = windows[0]
    if len(windows) == 1:
        return first
    record = replace(
        first.record,
        before=tuple(torch.cat(rows) for rows in zip(*(w.record.before for w in windows), strict=True)),
        drive=torch.cat([w.record.drive for w in windows]),
    )
    afferents = [
        replace(a, x=torch.cat([w.afferents[i].x for w in windows]), fresh=None) for i, a in enumerate(first.afferents)
    ]
    return replace(first, record=record, afferents=afferents, steps=sum(w.steps for w in windows))
