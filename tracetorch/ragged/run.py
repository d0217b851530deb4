"""Run sequences of unequal length: their outputs first, and what the layers come to when it is read.

What is given out of a padded sequence before its end is right, and so is its credit, since what comes after has no
cotangent. What a layer carries after the padding is not. So outputs come from few padded windows, and states from one
window for each length; these run at once where the rule credits what a sequence comes to, or where a second run of the
same window may differ from the first, and else when a state is read: never, if `tt.reset` comes before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tracetorch.dropout import DRAWN_AGAIN, SequenceDropout
from tracetorch.engine import Core, LayerState, Place, blank, merge, select
from tracetorch.layer import Layer
from tracetorch.ragged.later import Later
from tracetorch.ragged.plan import Group, Rows, Segment, grouped, sequences
from tracetorch.trees import Tree, mapped

Out = Literal["all", "last"]


@dataclass(frozen=True)
class Network:
    """A network as a ragged window runs it.

    Args:
        layers: its layers.
        window: what runs it over one window from what its layers carry, `(xs, out)`.
        again: itself, where a window that is run twice comes to the same; None where it may not.
        dropouts: its dropouts with a mask for each row.
    """

    layers: Sequence[Layer]
    window: Callable[[Tree, Out], Tree]
    again: nn.Module | None
    dropouts: Sequence[SequenceDropout] = ()

    @property
    def cores(self) -> list[Core]:
        """What the layers hold beside their modules."""
        return [layer.core for layer in self.layers]

    @property
    def exact(self) -> bool:
        """Whether no sequence may be padded: it is credited by what it comes to at its end, or watched."""
        return any(layer.rule.window == "sequence" or layer.core.watchers for layer in self.layers)

    @property
    def postpones(self) -> bool:
        """Whether what the layers come to may be computed when it is read."""
        if self.again is None or torch.is_inference_mode_enabled() or self.exact:
            return False
        if any(layer.rule.window == "all" for layer in self.layers):
            return False
        return not any(core.counted or core.activity.wanted for core in self.cores)


@dataclass(frozen=True)
class Ragged:
    """One window of a network, `[T, B, ...]`, with what its layers and dropouts carry."""

    network: Network
    xs: Tree
    before: Sequence[LayerState | None]
    masks: Sequence[Tensor | None]
    shape: tuple[int, int]

    @property
    def width(self) -> int:
        """B."""
        return self.shape[1]

    def outputs(self, group: Group, out: Out) -> tuple[Tree, Tensor]:
        """Run a group; return a row of outputs for each that is to be given out, with their numbers in the whole."""
        whole = group.carried and group.rows == list(range(self.width))
        for core, state in zip(self.network.cores, self.before, strict=True):
            core.state = state if whole else _start(state, group)
        for dropout, mask in zip(self.network.dropouts, self.masks, strict=True):
            dropout.mask = mask[group.rows] if group.carried and mask is not None else None
        with _placed_in(self, group):
            return self._shown(group, out)

    def _shown(self, group: Group, out: Out) -> tuple[Tree, Tensor]:
        last = group.last()
        if out == "last" and bool((last == group.length - 1).all()):
            return self.network.window(group.inputs(self.xs), "last"), torch.tensor(group.rows)
        ys = self.network.window(group.inputs(self.xs), "all")
        if out == "last":
            return mapped(lambda y: y[last.to(y.device), torch.arange(y.shape[1])], ys), torch.tensor(group.rows)
        here, there = group.places(self.width)
        return mapped(lambda y: y.flatten(0, 1).index_select(0, here.to(y.device)), ys), there

    def ends(self, groups: Sequence[Group], out: Out) -> list[tuple[Tree, Tensor]]:
        """Run groups of one length each, leave the layers with what all rows come to, and return the outputs."""
        cores, values = self.network.cores, []
        wanted = [core.activity.wanted for core in cores]
        states: list[list[LayerState | None]] = []
        spikes: list[list[Any]] = []
        masks: list[list[Tensor | None]] = []
        try:
            for group in groups:
                for core, one in zip(cores, wanted, strict=True):
                    core.activity.wanted = one and group is groups[-1]  # a window counts once
                values.append(self.outputs(group, out))
                states.append([core.state for core in cores])
                spikes.append([core.spikes for core in cores])
                masks.append([dropout.mask for dropout in self.network.dropouts])
        finally:
            for core, one in zip(cores, wanted, strict=True):
                core.activity.wanted = one
        ran = [row for group in groups for row in group.rows]
        if len(groups) > 1 or ran != list(range(self.width)):
            for i, core in enumerate(cores):
                core.state = self._end(self.before[i], [row[i] for row in states], ran)
                core.spikes = self._spikes([row[i] for row in spikes], ran)
            for i, dropout in enumerate(self.network.dropouts):
                dropout.mask = self._mask(self.masks[i], [row[i] for row in masks], ran)
        return values

    def _idle(self, ran: Sequence[int]) -> list[int]:
        return sorted(set(range(self.width)) - set(ran))

    def _end(
        self, before: LayerState | None, ends: Sequence[LayerState | None], ran: Sequence[int]
    ) -> LayerState | None:
        """Return what all rows carry after the window: those that did not run what they carried before."""
        there = [state for state in ends if state is not None]
        if not there:
            return before
        device, idle = there[0].steps.device, self._idle(ran)
        if idle:
            rows = torch.tensor(idle, device=device)
            there.append(blank(there[0], len(idle)) if before is None else select(before, rows))
        return merge(there, torch.tensor([*ran, *idle]).argsort().to(device))

    def _mask(self, before: Tensor | None, ends: Sequence[Tensor | None], ran: Sequence[int]) -> Tensor | None:
        """Return the masks of all rows; of those that did not run what they were, or one to be drawn again."""
        there, idle = [mask for mask in ends if mask is not None], self._idle(ran)
        if not there:
            return before
        rest = torch.full_like(there[0][:1], DRAWN_AGAIN).expand(len(idle), *there[0].shape[1:])
        there.append(rest if before is None else before[idle])
        return torch.cat(there)[torch.tensor([*ran, *idle]).argsort().to(there[0].device)]

    def _spikes(self, parts: Sequence[Any], ran: Sequence[int]) -> Any:
        """Return the spike counts of all rows for a rate term; of rows that did not run they are zero, in one step."""
        there = [part for part in parts if part is not None]
        if not there:
            return None
        count, steps = (torch.cat([part[i] for part in there]) for i in range(2))
        idle = self._idle(ran)
        count = torch.cat([count, count.new_zeros(len(idle), *count.shape[1:])])
        steps = torch.cat([steps, steps.new_ones(len(idle))])
        order = torch.tensor([*ran, *idle]).argsort().to(steps.device)
        return count[order], steps[order], None


def run(network: Network, xs: Tree, rows: Rows, out: Out) -> Tree:
    """Run a network over a window, `[T, B, ...]`, whose rows are valid and reset at steps of their own.

    Outputs are `[T, B, ...]` or `[B, ...]`, zero where a row did not run. ValueError is raised if no row runs, or all
    rows have to run together.
    """
    steps, width = rows.valid.shape
    for layer in network.layers:
        why = layer.synapses[0].together
        if why is None and layer.core.elapsed is not None:
            why = "tt.intervals gives the times of steps in the order in which all rows run them"
        if why is not None:
            raise ValueError(
                f"rows of unequal length run in groups (lengths, mask, resets), and {why}: give sequences of one "
                f"length, with tt.reset(net, mask) between windows where a row begins again"
            )
    found = sequences(rows)
    if not found:
        raise ValueError(f"no row has a valid step in this window of {steps} steps and {width} rows")
    before = [core.state for core in network.cores]
    if all(state is None for state in before) and not any(d.mask is not None for d in network.dropouts):
        found = [Segment(s.row, s.steps, False, s.final) for s in found]
    if not torch.is_grad_enabled():
        before = [None if state is None else state.forgotten() for state in before]
    return _run(network, xs, (found, before), (steps, width), out)


def _run(
    network: Network,
    xs: Tree,
    given: tuple[Sequence[Segment], Sequence[LayerState | None]],
    shape: tuple[int, int],
    out: Out,
) -> Tree:
    found, before = given
    window = Ragged(network, xs, before, [dropout.mask for dropout in network.dropouts], shape)
    final = [s for s in found if s.final]
    shown = final if out == "last" else found
    ends, padded = grouped(final, exact=True), grouped(shown, exact=False)
    if network.again is not None and network.postpones and len(padded) < len(ends):
        values = [window.outputs(group, out) for group in padded]
        again = replace(window, xs=mapped(lambda x: x.detach().clone(), xs))  # a loader may fill the same memory again
        Later(network.cores, before, network.again, lambda: again.ends(ends, "last")).stand_in()
    else:
        inner = grouped([s for s in shown if not s.final], exact=network.exact)
        values = [window.outputs(group, out) for group in inner]
        values += window.ends(ends, out)
    return _placed(values, shape[1:] if out == "last" else shape)


def _start(state: LayerState | None, group: Group) -> LayerState | None:
    """Return what the sequences of a group begin with."""
    if state is None:
        return None
    rows = torch.tensor(group.rows, device=state.steps.device)
    if group.carried:
        return select(state, rows)
    if state.traces is not None and "bucket" in state.traces.other:  # which units share a decay stays as it is
        return select(state, rows).marked(torch.ones(len(rows), dtype=torch.bool))
    return None


@contextmanager
def _placed_in(window: Ragged, group: Group) -> Iterator[None]:
    """Show what watches the layers where the rows of a group stand."""
    watched = [core for core in window.network.cores if core.watchers]
    if watched:
        place = Place(group.steps(), torch.tensor(group.rows), window, window.shape)
        for core in watched:
            core.place = place
    try:
        yield
    finally:
        for core in watched:
            core.place = None


def _placed(values: Sequence[tuple[Tree, Tensor]], shape: tuple[int, ...]) -> Tree:
    """Return rows of outputs in their places, zero in all others."""
    places = torch.cat([where for _, where in values])

    def one(*parts: Tensor) -> Tensor:
        flat = torch.cat(parts)
        zeros = flat.new_zeros(torch.Size(shape).numel(), *flat.shape[1:])
        return zeros.index_copy(0, places.to(flat.device), flat).reshape(*shape, *flat.shape[1:])

    return mapped(one, values[0][0], *(ys for ys, _ in values[1:]))
