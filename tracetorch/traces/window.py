"""What a forward leaves behind for credit, and what a layer carries from window to window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from tracetorch.backends import Convolution, Events, Filter, Gradients, Pull, Scan, ScanBackend, Tape, unit_rows
from tracetorch.synapses import Synapse
from tracetorch.traces.bank import Bank

BIAS = "bias."
"""Prefix of the biases' names among the parameters."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of a trace at one call; they change where decays are learned.

    Args:
        filter: the filter above the layer's outputs; None for none.
        constant: A, `[S, S]`, and B, `[S]`, of a presynaptic trace, or None.
        decays: decay of the input's average per unit, `[*unit]` or a scalar; None where there is no such average.
        bank: the filters above, where there are several; `filter` has their states then.
        hops: number of hops through the layer's own recurrence, for each of which the bank has its outputs again.
    """

    filter: Filter | None = None
    constant: tuple[Tensor, Tensor] | None = None
    decays: Tensor | None = None
    bank: Bank | None = None
    hops: int = 0

    @property
    def outputs(self) -> int:
        """The number of filters by which cotangents come from outside; one also where there is none."""
        return 1 if self.bank is None else self.bank.outputs // (self.hops + 1)


@dataclass(frozen=True)
class Afferent:
    """A synapse with its inputs of one window.

    Args:
        synapse: the adapter.
        given: inputs, `[T, B, *in]`, without a graph, or their events.
        traced: whether its weights learn.
        sums: weighted sums of the inputs over the window where the scan has formed them, `[R, B, *in]`.
        version: number of changes in place that the inputs had seen when the window was run; None for inputs that
            nobody else has.
        convolution: the products by which the synapse's currents were formed; None for the synapse's own.
    """

    synapse: Synapse
    given: Tensor | Events
    traced: bool
    sums: Tensor | None = None
    version: int | None = None
    convolution: Convolution | None = None

    @property
    def events(self) -> Events | None:
        """The inputs by their events, from which products are formed; None where the synapse forms its own."""
        return None if isinstance(self.given, Tensor) else self.given

    @property
    def x(self) -> Tensor:
        """The inputs, `[T, B, *in]`."""
        return self.given if isinstance(self.given, Tensor) else self._dense  # torch.compile cannot enter a cache

    @cached_property
    def _dense(self) -> Tensor:
        return self.given if isinstance(self.given, Tensor) else self.given.dense()

    def features(self) -> Tensor:
        """Return the window's features, `[T B, *features]`."""
        return self.synapse.features(self.x.reshape(-1, *self.x.shape[2:]))

    def patches(self) -> Tensor:
        """Return the window's features per position, `[T, B, G, L, K]`."""
        flat = self.synapse.patches(self.features())
        return flat.reshape(*self.x.shape[:2], *flat.shape[1:])

    def weight_grad(self, q: Tensor) -> tuple[Tensor, ...]:
        """Return the weights' gradients from the currents' cotangents, `[T B, *unit]`."""
        if self.events is not None:
            return (self.events.outer_sum(q),)
        if self.convolution is not None:
            return (self.convolution.weight_grad(self.features(), q),)
        return self.synapse.weight_grad(self.features(), q)


@dataclass(frozen=True)
class Window:
    """Everything of one window that credit needs.

    Args:
        numbers: the trace's numbers in this window.
        scan: the neurons' scan.
        backend: the backend that scanned.
        tape: what the backend keeps of it.
        afferents: inputs by synapse: the layer's own, then the recurrent one.
        biases: names of the biases that learn.
        learned: names of the neuron parameters that learn.
        keep: `[B]`, zero for rows that were reset at the window's start, or None.
        counted: whether spikes are counted for a rate term.
    """

    numbers: Numbers
    scan: Scan
    backend: ScanBackend
    tape: Tape
    afferents: Sequence[Afferent]
    biases: tuple[str, ...]
    learned: tuple[str, ...]
    keep: Tensor | None
    counted: bool

    @property
    def size(self) -> int:
        """S, the number of state variables."""
        return len(self.scan.neuron.state)

    @property
    def steps(self) -> int:
        """T."""
        return self.scan.steps

    @property
    def unit(self) -> tuple[int, ...]:
        """Shape of the units."""
        return self.scan.unit

    @property
    def like(self) -> Tensor:
        """A tensor of the form of one step's currents, `[B, *unit]`."""
        return self.scan.s[0]

    @property
    def filter(self) -> Filter | None:
        """The filter above the outputs, with a count of the outputs beside it where spikes are counted."""
        above = self.numbers.filter
        if not self.counted:
            return above
        one = self.like.new_ones(1)
        if above is None:
            return Filter(one.reshape(1, 1), one, 0 * one, one[0])
        zero = torch.zeros_like(one)
        return Filter(
            torch.block_diag(above.a.to(one), one.reshape(1, 1)),
            torch.cat([above.b.to(one), one]),
            torch.cat([above.d.to(one), zero]),
            above.p,
        )

    def require_unchanged(self) -> None:
        """Raise RuntimeError where the inputs were changed in place since the window was run."""
        if any(a.version is not None and version_of(a.given) not in (None, a.version) for a in self.afferents):
            raise RuntimeError(
                "an input of a layer was changed in place before the layer's next call, in which its traces advance "
                "over that input; write h = h * 2 instead of h.mul_(2), or give the layer a copy, h.clone()"
            )

    def unshared(self) -> Window:
        """Return the same, of inputs that are to be copied."""
        return replace(self, afferents=[replace(a, version=None) for a in self.afferents])

    def rows(self, pull: Pull, *, first: int = 0) -> list[Gradients]:
        """Return the reverse passes of unit cotangents of the states and the filter after the window."""
        return unit_rows(self.tape, self.scan, self.filter, pull, first=first)

    def masked(self, value: Tensor) -> Tensor:
        """Return per-row values `[..., B, *unit]` of the carried past, zero in rows that were reset."""
        if self.keep is None:
            return value
        return value * self.keep.reshape(-1, *[1] * len(self.unit)).to(value.dtype)


def version_of(x: Tensor | Events) -> int | None:
    """Return the number of changes in place that inputs have seen; None where it is not counted, as of events."""
    return None if not isinstance(x, Tensor) or torch.compiler.is_compiling() or x.is_inference() else x._version


def per_current(value: Tensor, dim: int, count: int) -> Tensor:
    """Return a value per unit as one for each current, `[..., C, *unit]` with C at `dim`, where there are several."""
    if count == 1:
        return value
    return value.unsqueeze(dim).expand(*value.shape[:dim], count, *value.shape[dim:])


@dataclass
class Traces:
    """What is carried for credit; lists run over the states, then the states of the filter above.

    Args:
        weight: per afferent, the eligibility by state: `[B, *features]` (presynaptic) or `[B, G, O, L, K]` (full).
        filtered: per afferent, the filtered eligibility by filter state, `[B, G, O, L, K]`.
        neuron: per bias or neuron parameter, its eligibility by state and filter state, `[B, *unit]`.
        other: what one kind of trace carries beside, by name.
    """

    weight: list[list[Tensor]] = field(default_factory=list)
    filtered: list[list[Tensor]] = field(default_factory=list)
    neuron: dict[str, list[Tensor]] = field(default_factory=dict)
    other: dict[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by a flat name."""
        flat: dict[str, Tensor] = {}
        for kind, table in (("weight", self.weight), ("filtered", self.filtered)):
            for i, row in enumerate(table):
                flat.update({f"{kind}.{i}.{j}": x for j, x in enumerate(row)})
        for name, row in self.neuron.items():
            flat.update({f"neuron.{name}/{j}": x for j, x in enumerate(row)})
        return flat | {f"other.{name}": x for name, x in self.other.items()}

    @staticmethod
    def from_tensors(flat: dict[str, Tensor]) -> Traces:
        """Return the traces whose `tensors` these are."""
        traces = Traces()
        for key, value in flat.items():
            kind, _, rest = key.partition(".")
            if kind == "neuron":
                traces.neuron.setdefault(rest.rpartition("/")[0], []).append(value)
                continue
            if kind == "other":
                traces.other[rest] = value
                continue
            table = traces.weight if kind == "weight" else traces.filtered
            index = int(rest.partition(".")[0])
            while len(table) <= index:
                table.append([])
            table[index].append(value)
        return traces

    def copied(self) -> Traces:
        """Return a copy that shares no memory."""
        return Traces.from_tensors({k: v.clone() for k, v in self.tensors().items()})


def sum_to(value: Tensor, shape: torch.Size) -> Tensor:
    """Return per-unit cotangents summed to the shape of the parameter they belong to."""
    return value.sum_to_size(shape) if value.shape != shape else value
