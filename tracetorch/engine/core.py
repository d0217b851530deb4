"""What a layer holds beside its modules: what it carries, how it is run, and where it stands in its network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from tracetorch.engine.known import Known
from tracetorch.engine.silence import Silence
from tracetorch.engine.spec import Spec
from tracetorch.engine.state import LayerState, OpenWindow
from tracetorch.neurons import Elapsed, Neuron
from tracetorch.rules import Rule
from tracetorch.rules.above import Above, Stage
from tracetorch.rules.wiring import Wiring
from tracetorch.traces.activity import Activity
from tracetorch.traces.passing import Received


class Stepper(Protocol):
    """A compiled program that runs a layer step by step and holds the state meanwhile."""

    def state(self) -> LayerState:
        """Return what the layer carries now."""
        ...

    def undone(self) -> LayerState | None:
        """Return what the layer carried before the last step."""
        ...


@dataclass(frozen=True, eq=False)
class Seen:
    """One call of a layer, for what watches it.

    Args:
        spec: the layer.
        before: what it carried before; None after a reset.
        xs: inputs, `[T, B, *in]`.
        z: outputs, `[T, B, *unit]`.
        place: where these rows stand in a ragged window, or None.
    """

    spec: Spec
    before: LayerState | None
    xs: Tensor
    z: Tensor
    place: Place | None = None

    def fed(self) -> Tensor:
        """Return the outputs that a recurrent synapse was fed with, `[T, B, *unit]`."""
        before = self.before
        first = torch.zeros_like(self.z[0]) if before is None or before.z is None else before.masked(before.z)
        return torch.cat([first.unsqueeze(0).to(self.z.dtype), self.z[:-1]])


@dataclass(frozen=True, eq=False)
class Place:
    """Where the steps of a call stand in a window whose rows run at steps of their own.

    Args:
        steps: number of each step in the window, `[T, N]`.
        rows: number of each row, `[N]`.
        window: the window, by which calls that belong together are known.
        shape: steps and rows of the window.
    """

    steps: Tensor
    rows: Tensor
    window: object
    shape: tuple[int, int]


class Peers:
    """The layers of one network, and the order in which they are called.

    Args:
        cores: what each carries; none as long as nobody has told.

    Attributes:
        turn: number of calls so far.
        leader: the layer that was called first in this sequence, and so begins each step; None before.
    """

    def __init__(self, cores: tuple[Core, ...] = ()) -> None:
        self.cores, self.turn = cores, 0
        self.leader: Core | None = None

    def before(self, core: Core) -> list[Core]:
        """Return the layers that have been called in the step in which a layer is called, before it."""
        leader = self.leader
        return [] if leader is None or leader.turn < core.turn else [p for p in self.cores if self.together(p, core)]

    def together(self, peer: Core, core: Core) -> bool:
        """Return whether the last call of a layer was in the step in which another one is called now."""
        leader = self.leader
        return leader is not None and leader is not core and peer.turn >= max(leader.turn, core.turn + 1)


class Core:
    """The mutable part of a layer, shared with nobody.

    Attributes:
        opened: the open window that calls belong to, or None.
        spikes: spike count with its graph, steps since the reset and outputs past the filter, for a rate term.
        counted: whether spikes are counted.
        finite: whether to check for NaN and infinity; None for on CPUs alone.
        backend: `auto`, or a backend's name.
        sparse: whether dense synapses and convolutions are driven by events; None to decide by density.
        above: what is above the layer in its network.
        activity: what the layer has been doing, for those below.
        wiring: which layers of its network feed which.
        version: the version of it that `above` is of.
        received: what takes up the credit that the layers above send to the last call; None if it is not distinguished.
        stepper: the compiled program that holds the state, or None.
        calls: number of calls so far, by which a call's outputs are known.
        undone: number of the last call that was taken back.
        feeders: layers below that have still to learn, in this first step, what is above this one.
        silence: what notices that the layer never spikes.
        watchers: what is told of each call.
        place: where the rows of a call stand in a ragged window, or None.
        elapsed: the times between steps, for a neuron that leaks by time; None for one.
        apart: whether several filters are above the layer, as far as it has been told.
        counted_for: the rule, the neuron, what is above and how it is grouped, for which they were counted.
        compared: whether a backward, or the form of the network, has shown whether credit comes past the layers above.
        bypassed: whether credit has reached the layer past all layers above, which compiled code does not distinguish.
        shown: whether the form of the network, or a step that was checked, has shown what the layer feeds.
        recurrent: whether the layer has a recurrent synapse.
        turn: number of its last call among those of the layers of its network.
        time: number of time steps since a reset of all layers that this one is in step with, or as good as that.
        began: what stands for the last reset of any of its rows, the same in layers that were reset together.
        length: number of time steps of the last call.
        credited: number of steps for which it carries credit: since a reset, another rule, or steps without a graph.
        peers: all layers of its network, itself too, as far as it has been told.
        noted: what takes back what the last call has shown of the network.
        known: the numbers of its trace in the sequence before; None for none.
        aligned: what lay between windows below and the input of this layer, and was found in step.
        agreed: the one layer that feeds it, and all else by which that was found in order; None for none.
    """

    def __init__(self) -> None:
        self.opened: OpenWindow | None = None
        self.spikes: tuple[Tensor, Tensor, Tensor | None] | None = None
        self.counted = False
        self.finite: bool | None = None
        self.backend = "auto"
        self.sparse: bool | None = None
        self.above = Above()
        self.activity = Activity()
        self.wiring: Wiring | None = None
        self.version = 0
        self.received: Received | None = None
        self.stepper: Stepper | None = None
        self.calls, self.undone = 0, 0
        self.feeders: list[tuple[Core, Rule, Neuron, Neuron]] = []
        self.silence = Silence()
        self.watchers: list[Callable[[Seen], None]] = []
        self.place: Place | None = None
        self.elapsed: Elapsed | None = None
        self.apart, self.shown, self.recurrent, self.bypassed, self.compared = False, False, False, False, False
        self.turn, self.time, self.credited, self._credited = 0, 0, 0, 0
        self.began, self.length = object(), 0
        self.peers = Peers()
        self.noted: list[Callable[[], object]] = []
        self._state: LayerState | None = None
        self._before: tuple[LayerState | None, Any] | None = None
        self.known: Known | None = None
        self.agreed: tuple[object, ...] | None = None
        self.counted_for: tuple[object, ...] = ()
        self.aligned: tuple[object, ...] = ()

    @property
    def state(self) -> LayerState | None:
        """What the layer carries from call to call; None after a reset. Reading it ends a compiled program."""
        self._state, self.stepper = self.peek(), None
        return self._state

    @state.setter
    def state(self, value: LayerState | None) -> None:
        if value is None and self._state is not None:
            self.known = self._state.numbers
        self._state, self.stepper, self._before = value, None, None

    def stepped(self, state: LayerState, spikes: Any, before: LayerState | None) -> None:
        """Take up what a single step left, and what it can be taken back to."""
        past = None if self.opened is not None else (before, self.spikes)
        self.state = state
        if not state.credits and self.opened is None:
            self.credited = 0
        if spikes is not None:
            self.spikes = spikes
        self._before = past

    def renew(self, state: LayerState | None) -> None:
        """Take up another form of the state after the last step, which can be taken back as before."""
        before = self._before
        self.state = state
        self._before = before

    def begin(self) -> None:
        """Begin a call, which may have to be taken back."""
        if self.noted:
            self.noted = []
        if self.activity.wanted:
            self.noted.append(self.activity.measured())

    def called(self, steps: int = 1) -> None:
        """Count a call of some time steps."""
        self.calls += 1
        peers = self.peers
        peers.turn += 1
        self.turn = peers.turn
        if peers.leader is None:
            peers.leader = self
        self.length = steps
        self.passed(steps)

    def passed(self, steps: int) -> None:
        """Count time steps."""
        self._credited = self.credited
        self.time += steps
        self.credited += steps

    def restart(self, began: object) -> None:
        """Begin a new sequence, together with the layers that are given the same sign of it."""
        self.state, self.spikes, self.began = None, None, began
        self.time = self.credited = self._credited = 0

    def in_step(self, below: Core, ahead: int, *, credited: bool) -> bool:
        """Return whether each row has made, and is credited for, all steps before those that a layer below hands on.

        These are the last `ahead` steps of that layer; with `credited` this one is to be credited for as many as it.
        """
        lag = below.time - self.time
        if self.began is not below.began or not ahead <= lag <= max(ahead, below.length):
            own, its = self.peek(), below.peek()
            if its is None or (own is not None and own.batch != its.batch):
                return True  # another error tells
            steps = its.steps if own is None else its.steps - own.masked(own.steps).to(its.steps)
            lag = int(steps[0]) if len(steps) else ahead
            if not ahead <= lag <= max(ahead, below.length) or bool((steps != lag).any()):
                return False
            self.began, self.time = below.began, below.time - lag
        return not credited or below.credited - self.credited == lag

    def note_credit(self, bypassed: bool) -> None:
        """Note that credit has reached the layer, and whether past all layers above."""
        self.compared, self.bypassed = True, self.bypassed or bypassed

    def undo(self) -> bool:
        """Take the last step back, and return whether that could be done."""
        if self.stepper is not None:
            self.state = self.stepper.undone()
        elif self._before is not None:
            self.state, self.spikes = self._before
        else:
            return False
        self.undone = self.calls
        self.time, self.credited = self.time - 1, self._credited
        self.forget()
        return True

    def forget(self) -> None:
        """Take back what the call that runs, or the last one, has shown of the network."""
        while self.noted:
            self.noted.pop()()

    def peek(self) -> LayerState | None:
        """Return what the layer carries, and leave a compiled program in its place."""
        return self._state if self.stepper is None else self.stepper.state()

    def end_program(self) -> None:
        """Take the state back from a compiled program, which another one has to follow."""
        self.state = self.state

    @property
    def started(self) -> bool:
        """Whether the layer carries anything."""
        return self.stepper is not None or self._state is not None

    @property
    def batch(self) -> int | None:
        """Number of rows of what the layer carries; None after a reset."""
        state = self.state
        return None if state is None else state.batch

    def show(self, spec: Spec, before: LayerState | None, xs: Tensor, z: Tensor) -> None:
        """Show a call to what watches the layer."""
        for watch in self.watchers:
            watch(Seen(spec, before, xs.detach(), z.detach(), self.place))

    def close(self) -> None:
        """End an open window: cut the graph, and leave the window's traces to the next call."""
        opened, self.opened = self.opened, None
        self.length = self.length if opened is None else opened.calls
        state = self.state
        if opened is not None and state is not None and opened.windows:
            self.state = replace(state, pending=opened.joined())

    def followed_by(self, rule: Rule, own: Neuron, neuron: Neuron, consumer: Core) -> bool:
        """Take up from the first step what is above, a layer of `neuron`, and pass it on; return whether it is one."""
        state = self.peek()
        if state is None or bool((state.steps > 1).any()):
            return False
        before = self._before if self.stepper is None else (self.stepper.undone(), self.spikes)
        self.above = Above((Stage(neuron, consumer.activity, consumer.above),), known=True)
        self.state = replace(state, trace=rule.trace(own, tuple(state.s[0].shape[1:]), self.above), numbers=None)
        self._before = before
        if not consumer.above.known:
            consumer.feeders.append((self, rule, own, neuron))
        for core, its_rule, its_neuron, fed in self.feeders:
            core.followed_by(its_rule, its_neuron, fed, self)
        return True

    def settled(self) -> Above | None:
        """Take up what is above the layer where that has changed, and return it; None where it has not."""
        wiring = self.wiring
        if wiring is None or self.version == wiring.version:
            return None
        self.version, above = wiring.version, wiring.above()[self.activity]
        if self.above.same(above):
            return None
        self.above = above
        self.bypassed, self.compared = False, False  # what was noted was past the layers that were told before
        return above

    @property
    def first(self) -> bool:
        """Whether the layer has made no more than one step since the whole network was reset."""
        state, opened = self.peek(), self.opened
        return state is not None and not bool((state.steps > 1).any()) and (opened is None or opened.calls < 2)

    def another(self) -> Core:
        """Return one that is run alike and stands at the same place, after a reset."""
        other = Core()
        other.options_of(self)
        other.above = self.above
        return other

    def options_of(self, other: Core) -> None:
        """Take over how another layer is run."""
        self.counted, self.finite = other.counted, other.finite
        self.backend, self.sparse = other.backend, other.sparse

    def __getstate__(self) -> dict[str, Any]:
        state, spikes = self.peek(), self.spikes
        if state is not None:
            state = state.without_graph()
        if spikes is not None:
            spikes = (spikes[0].detach(), spikes[1], None if spikes[2] is None else spikes[2].detach())
        changed: dict[str, Any] = {
            "_state": state,
            "spikes": spikes,
            "stepper": None,
            "_before": None,
            "opened": None,
            "feeders": [],
            "watchers": [],
            "elapsed": None,
            "received": None,
            "peers": Peers(),
            "noted": [],
            "known": None,
            "agreed": None,
            "counted_for": (),
            "aligned": (),
        }
        return self.__dict__ | changed
