"""Record states, spikes, currents and traces of chosen layers while a network runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.engine import Core, Place, Seen
from tracetorch.entry import require_network
from tracetorch.layer import Layer
from tracetorch.linking import layers
from tracetorch.neurons import Readout

Ring = deque[tuple[int, Tensor]]
"""The last recorded steps: the number of each, and the value."""


class Record:
    """What was recorded: bounded rings of the last steps, by name; see `tt.record`.

    Args:
        net: the network.
        names: what is recorded.
        every: of how many steps one is recorded.
        last: number of recorded steps that are stored, at most.
        units: numbers of the units; None for all.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=5)))
        >>> seen = tt.record(net, "0.v", last=3)
        >>> for x in torch.ones(5, 2, 3):
        ...     z = net(x)
        >>> seen.close()
        >>> seen["0.v"].shape, seen.steps("0.v")
        (torch.Size([3, 2, 4]), [2, 3, 4])
    """

    def __init__(
        self, net: nn.Module, names: Sequence[str], *, every: int, last: int, units: Sequence[int] | None
    ) -> None:
        self.every, self.units = every, None if units is None else list(units)
        self._rings: dict[str, Ring] = {name: deque(maxlen=last) for name in names}
        self._open: dict[str, tuple[object, int]] = {}
        self._at: dict[str, tuple[Place, int]] = {}
        self._steps: dict[str, int] = {}
        self._watching: list[tuple[Core, Any]] = []
        found = layers(net)
        parts: dict[str, list[str]] = {}
        for name in self._rings:
            layer, what = _split(name, found)
            parts.setdefault(layer, []).append(what)
        for name, whats in parts.items():
            watch, core = partial(self._see, name, whats, found[name].core), found[name].core
            core.watchers.append(watch)
            self._watching.append((core, watch))

    def __getitem__(self, name: str) -> Tensor:
        """Return the recorded steps of one thing, the oldest first.

        Args:
            name: its name.

        Returns:
            `[K, B, *unit]`; NaN, or zero for whole numbers, where a row of a ragged window did not run.

        Raises:
            KeyError: if it is not recorded, or nothing has run.
        """
        if name not in self._rings:
            raise KeyError(f"{name!r} is not recorded; there are {sorted(self._rings)}")
        if not self._rings[name]:
            raise KeyError(f"nothing of {name!r} is recorded yet: the network has not run since")
        return torch.stack([value for _, value in self._rings[name]])

    def steps(self, name: str) -> list[int]:
        """Return the numbers of the recorded steps, from 0 since recording began.

        Args:
            name: what is recorded.

        Returns:
            K numbers.
        """
        return [step for step, _ in self._rings[name]]

    def clear(self) -> None:
        """Forget what was recorded, and count steps from 0."""
        for ring in self._rings.values():
            ring.clear()
        self._steps, self._open, self._at = {}, {}, {}

    def close(self) -> None:
        """End recording; what was recorded stays."""
        for core, watch in self._watching:
            if watch in core.watchers:
                core.watchers.remove(watch)
        self._watching = []

    def __enter__(self) -> Record:
        """Return itself; `close` is called at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End recording."""
        self.close()

    def _see(self, layer: str, whats: Sequence[str], core: Core, seen: Seen) -> None:
        with torch.no_grad():
            values = {w: _currents(seen) if w == "currents" else seen.z for w in whats if not w.startswith("traces.")}
            states = {s for s in whats if s in seen.spec.neuron.state}
            if states:
                values |= {s: value for s, value in _states(seen).items() if s in states}
            first = self._place(layer, seen)
            for what in whats:
                ring = f"{layer}.{what}"
                if what.startswith("traces."):
                    self._add_traces(ring, core, range(first, first + len(seen.z)))
                elif seen.place is None:
                    self._add(ring, values[what], first)
                else:
                    self._scatter(ring, values[what], first, seen.place)
            if seen.place is not None:
                self._at[layer] = (seen.place, self._at[layer][1] + len(seen.z))

    def _place(self, layer: str, seen: Seen) -> int:
        """Return the number of the first step of a call, or of its ragged window, and count its steps."""
        first, place = self._steps.get(layer, 0), seen.place
        if place is None:
            self._steps[layer] = first + len(seen.z)
            return first
        if layer not in self._at or self._at[layer][0] is not place:
            self._at[layer] = (place, 0)
        if layer not in self._open or self._open[layer][0] is not place.window:
            self._open[layer] = (place.window, first)
            self._steps[layer] = first + place.shape[0]
        return self._open[layer][1]

    def _add(self, name: str, values: Tensor, first: int) -> None:
        for t in range(-first % self.every, len(values), self.every):
            self._append(self._rings[name], first + t, self._chosen(values)[t].clone())

    def _chosen(self, values: Tensor) -> Tensor:
        return values if self.units is None else values[:, :, self.units]

    def _append(self, ring: Ring, step: int, value: Tensor) -> None:
        if ring and ring[-1][1].shape != value.shape:  # another batch: the ring begins again
            ring.clear()
        ring.append((step, value))

    def _scatter(self, name: str, values: Tensor, first: int, place: Place) -> None:
        """Put the steps of some rows of a ragged window in their places."""
        ring, values, begun = self._rings[name], self._chosen(values), self._at[name.rpartition(".")[0]][1]
        steps, rows = place.shape
        due = range(-first % self.every, steps, self.every)
        if due and (not ring or ring[-1][0] < first + due[-1]):
            empty = float("nan") if values.is_floating_point() else 0
            for t in due:
                self._append(ring, first + t, values.new_full((rows, *values.shape[2:]), empty))
        slots = {step - first: value for step, value in ring if step >= first}
        for t, at in enumerate(place.steps[begun : begun + len(values)].tolist()):
            for n, (row, step) in enumerate(zip(place.rows.tolist(), at, strict=True)):
                if step in slots:
                    slots[step][row] = values[t, n]

    def _add_traces(self, name: str, core: Core, steps: range) -> None:
        if not any(step % self.every == 0 for step in steps) or core.place is not None:
            return
        state, key = core.peek(), name[name.index(".traces.") + 1 :]
        flat = {} if state is None else state.tensors()
        if key in flat:
            self._append(self._rings[name], steps[-1], flat[key])


def record(net: nn.Module, *names: str, every: int = 1, last: int = 1000, units: Sequence[int] | None = None) -> Record:
    """Record states, spikes, currents and traces of chosen layers while a network runs, step by step or in scans.

    A scan is as fast as without a record, except for what is recorded. States inside a window are computed again from
    its currents by the neuron's own step in torch, so that they are those of the kernels to rounding. Calls inside
    `tt.Stream` and `torch.compile` are not seen.

    Args:
        net: any module with layers in it.
        names: what to record, a layer's name and `outputs`, `spikes`, `currents` (recurrent ones included), a state of
            its neuron (`v`, ...), or `traces.` and the name of a trace as in `tt.get_state`: `0.v`, `0.spikes`. Traces
            are those after each call, so once in a scan, and not in scans of rows of unequal length.
        every: of how many steps one is recorded.
        last: number of recorded steps that are stored, at most.
        units: numbers of the units, in their first dimension, that are recorded; None for all. Traces are whole.

    Returns:
        The record: `record[name]` is `[K, B, *unit]`; use it in a `with` block, or close it.

    Raises:
        KeyError: if a name is of no layer, or of nothing that the layer has.
        ValueError: if nothing is named, or a number is below 1.
        TypeError: if the network is not a module.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=5)))
        >>> with tt.record(net, "0.v", "0.spikes", every=2, last=100) as seen:
        ...     ys = tt.scan(net, torch.ones(10, 2, 3))
        >>> seen["0.v"].shape, seen.steps("0.v")
        (torch.Size([5, 2, 4]), [0, 2, 4, 6, 8])
    """
    require_network(net)
    if not names:
        raise ValueError('name what to record, such as tt.record(net, "0.v", "0.spikes")')
    for what, number in (("every", every), ("last", last)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{what} is a whole number of steps of at least 1, got {number!r}")
    return Record(net, names, every=every, last=last, units=units)


def _split(name: str, found: dict[str, Layer]) -> tuple[str, str]:
    """Return a name's layer and what is recorded of it."""
    layer, _, what = name.partition(".traces.")
    what = f"traces.{what}" if what else ""
    if not what:
        layer, _, what = name.rpartition(".")
    if layer not in found:
        raise KeyError(f"{name!r} names no layer and a part of it, as '0.v' does; the network has {sorted(found)}")
    neuron = found[layer].neuron
    known = ["outputs", "currents", *neuron.state]
    if not isinstance(neuron, Readout):
        known.append("spikes")
    if what not in known and not what.startswith("traces."):
        raise KeyError(f"a layer of {type(neuron).__name__} has no {what!r}; it has {known} and traces")
    return layer, what


def _currents(seen: Seen) -> Tensor:
    """Return the total currents of a call, `[T, B, *unit]`."""
    currents = seen.spec.currents(seen.xs)
    recurrent = seen.spec.recurrent
    if recurrent is None:
        return currents
    flat = recurrent.current(seen.fed().flatten(0, 1))
    return currents + flat.reshape(currents.shape).to(currents.dtype)


def _states(seen: Seen) -> dict[str, Tensor]:
    """Return the states of a call by name, `[T, B, *unit]` each, by the neuron's own step."""
    neuron, currents = seen.spec.neuron, _currents(seen)
    before = seen.before
    s = neuron.zeros(seen.spec.like(seen.xs[0])) if before is None else tuple(map(before.masked, before.s))
    rows = []
    for current in currents.unbind(0):
        drive = current if len(neuron.currents) == 1 else neuron.pack_currents(current.unbind(1))
        after, _ = neuron.step(neuron.pack(s), drive)
        s = tuple(after)
        rows.append(s)
    return {name: torch.stack([row[i] for row in rows]) for i, name in enumerate(neuron.state)}
