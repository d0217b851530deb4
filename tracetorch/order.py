"""Check that layers run in the order that the network has told them, by the graph of their inputs."""

from __future__ import annotations

import operator
import weakref
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from tracetorch.aligned import Taken, require_aligned, require_ordered
from tracetorch.engine import Core, Peers
from tracetorch.entry import refuse_to_compile
from tracetorch.neurons import Neuron, Readout
from tracetorch.rules import AllMemory, Rule
from tracetorch.rules.above import Stage
from tracetorch.rules.chains import Hopped, MeanResponses, Routed, measured
from tracetorch.rules.wiring import Node, Wiring
from tracetorch.traces.passing import Feed, Received

MOST = 2**14
"""Number of nodes of the graph between two layers that are looked at."""


@dataclass(slots=True, eq=False)  # not frozen: it is made at each step
class Producer:
    """The layer whose outputs a tensor holds: its rule, its neuron, what it carries, and the number of the call."""

    rule: Rule
    neuron: Neuron
    core: weakref.ref[Core]
    call: int
    received: Received | None
    """What takes up the credit that the layers which it feeds send back; None where it is not distinguished."""


def sign(out: Tensor, rule: Rule, neuron: Neuron, core: Core) -> None:
    """Note on the graph of a layer's outputs whose they are."""
    node: Any = out.grad_fn
    if node is not None:
        if core.received is not None:
            core.received.passed = weakref.WeakMethod(core.note_credit)
        node.metadata["tracetorch"] = Producer(rule, neuron, weakref.ref(core), core.calls, core.received)
        _show(core)


def _show(core: Core) -> None:
    """Note that a layer gave outputs with a graph, and so what it feeds."""
    if not core.shown:
        core.shown = True
        core.noted.append(partial(setattr, core, "shown", False))
    forget = None if core.wiring is None else core.wiring.ran(core.activity)
    if forget is not None:
        core.noted.append(forget)


def producers(x: Tensor) -> list[tuple[Any, Producer]]:
    """Return the layers of whose outputs an input is made, the nearest on every path, each with its node."""
    found: list[tuple[Any, Producer]] = []
    seen: set[Any] = set()
    nodes: list[Any] = [x.grad_fn]
    while nodes and len(seen) < MOST:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        producer: Producer | None = node.metadata.get("tracetorch")
        if producer is not None:
            found.append((node, producer))
        else:
            nodes += [n for n, _ in node.next_functions if n is not None]
    return found


def take_back(x: Tensor, failed: Core) -> None:
    """Take back the last step of all layers that ran in the step in which a layer, `failed`, fails on an input.

    A layer calls it where it fails, so that a network's step is whole or nothing. Layers of whose outputs in this step
    its input is made are known by the graph; others, and those of a step without a graph, as layers of the same network
    that have been called since the one which begins each step.
    """
    failed.forget()
    seen: set[Any] = set()
    nodes: list[Any] = [x.grad_fn if isinstance(x, Tensor) else None]
    while nodes and len(seen) < MOST:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        producer: Producer | None = node.metadata.get("tracetorch")
        if producer is not None:
            core = producer.core()
            if core is None or core.calls != producer.call:
                continue  # of an earlier step
            if core.peers is failed.peers and not core.peers.together(core, failed):
                continue
            if not core.undo() and core.undone != core.calls:  # a call may have several nodes
                continue
        nodes += [n for n, _ in node.next_functions if n is not None]
    for core in failed.peers.before(failed):
        if core.opened is None:
            core.undo()


def check(
    core: Core, rule: Rule, neuron: Neuron, x: Tensor, *, window: int = 0, last: bool = False
) -> tuple[Feed, ...]:
    """Return how a layer sends credit to those below it; raise RuntimeError where it may not be fed with theirs.

    Its input `x` has its graph, and is a window of some steps, of which a layer below may have run the steps one by
    one; or with `last` that of its last step alone.
    """
    node: Any = x.grad_fn
    if node is None:
        return ()
    nearest: Producer | None = node.metadata.get("tracetorch")
    if nearest is not None and _as_before(core, rule, neuron, nearest, window):
        return ()
    feeds: list[Feed] = []
    calls: dict[int, int] = {}
    first: dict[int, int] = {}
    steps: dict[int, dict[int, Any]] = {}
    sources = [(node, below, source) for node, below in producers(x) if (source := below.core()) is not None]
    taken, nodes = Taken(x, window or 1, last), [node for node, _, _ in sources]
    for node, below, source in sources:
        twice = calls.setdefault(id(source), below.call) != below.call
        steps.setdefault(id(source), {}).setdefault(below.call, node)
        first[id(source)] = min(below.call, first.get(id(source), below.call))
        if twice and not window and core.opened is None and rule.window != "all":
            raise RuntimeError(
                f"a layer ({below.neuron!r}) ran twice before the layer that it feeds ran once: it has one state, so "
                f"that its second call was a step of time. Use layer.tied() for a second layer with the same "
                f"parameters; detach outputs of earlier steps"
            )
    for node, below, source in sources:
        if source.undone == below.call:
            raise RuntimeError(
                "the input is made of an output whose step was taken back, because a layer above failed in that step; "
                "run the whole network again"
            )
        if source is core and source.calls == below.call and core.opened is None and rule.window != "all":
            raise RuntimeError(
                f"a layer ({neuron!r}) ran twice in one step, on an input that is made of its own last output: it has "
                f"one state. Use layer.tied() for a second layer with the same parameters; to feed back the outputs of "
                f"the step before, give the layer a recurrent synapse (recurrent=...), or detach them"
            )
        apart = core.wiring is None or core.wiring is not source.wiring
        if (
            apart
            and source.first
            and (below.rule.above.groups or (source.wiring is not None and source.wiring.filters))
        ):
            _join((source, below.rule, below.neuron), (core, rule, neuron))
        together = core.wiring if core.wiring is source.wiring else None
        if isinstance(below.rule.above, AllMemory):
            received = below.received
            if any(_told(stage, core, rule, neuron) for stage in source.above.stages):
                _require_in_step(core, rule, neuron, (source, below), window or 1)
                require_aligned(core, taken, (node, source, below.call), nodes)
                require_ordered(taken, steps.pop(id(source), {}), nodes)
                _see(together, source, core)
                found = None if received is None else _route(received, core)
                if received is not None and found is not None:
                    edge, others = _edge(x, node), tuple(nodes)
                    route, group, pole = found
                    pole = pole if below.call == first[id(source)] else None  # a window's start is in one call alone
                    feeds.append(Feed(received, edge, x.dtype, x.shape, node, others, route, group, pole))
                continue
            if together is not None and source.first:
                _see(together, source, core)
                together.renew(node_of(core, rule, neuron))
                together.doubted = True
                if received is not None:
                    received.doubted = True
                continue
        elif below.rule.derives and not source.above.known:
            source.followed_by(below.rule, below.neuron, neuron, core)
        if below.rule.agrees(below.neuron, source.above, neuron, core.above) and not below.rule.above.groups:
            if _remembered(below, neuron):
                _require_in_step(core, rule, neuron, (source, below), window or 1)
                require_aligned(core, taken, (node, source, below.call), nodes)
                require_ordered(taken, steps.pop(id(source), {}), nodes)
            _see(together, source, core)
            if below is nearest and core.wiring is source.wiring is not None:
                core.agreed = _agreement(core, rule, neuron, below, source)
            continue
        follower = source.above.follower
        known = "nothing" if follower is None else repr(follower)
        raise RuntimeError(
            f"rule {below.rule.name!r} filters a layer by what it feeds: the network runs it into {neuron!r}, but "
            f"it expects {known}. Register the layers in the order in which they run and call tt.reset(net) on the "
            f"whole network; a layer that feeds several others, or several heads, needs a rule with a "
            f"given filter, tt.rules.eprop(kappa=...) or trace(decay=...), or one without, tt.rules.drtrl(); or take "
            f"tt.rules.cascade(), which takes up from the first step after tt.reset(net) which layers feed which"
        )
    return tuple(feeds)


def _edge(x: Tensor, node: Any) -> GradientEdge:
    """Return where an input is in the graph; it may be the outputs of a layer, of `node`, themselves."""
    itself = x.grad_fn is node
    return GradientEdge(node, x.output_nr) if itself else get_gradient_edge(x)


def _agreement(core: Core, rule: Rule, neuron: Neuron, below: Producer, source: Core) -> tuple[Any, ...]:
    """Return all on which it depends whether one layer may feed another, but for how often each has run."""
    ways = source.above, source.wiring, core.above, core.wiring
    return below.core, below.rule, below.neuron, rule, neuron, *ways, _remembered(below, neuron)


def _as_before(core: Core, rule: Rule, neuron: Neuron, below: Producer, window: int) -> bool:
    """Return whether a layer is fed by one other, and all is as it was in the step in which that was found in order."""
    source = below.core()
    if not core.agreed or source is None or source.calls != below.call or source.undone == below.call:
        return False
    ref, its_rule, its_neuron, own_rule, own_neuron, its_above, its_wiring, above, wiring, remembered = core.agreed
    if not (  # one by one, as this is asked at each step
        below.core is ref
        and below.rule is its_rule
        and below.neuron is its_neuron
        and rule is own_rule
        and neuron is own_neuron
        and source.above is its_above
        and source.wiring is its_wiring
        and core.above is above
        and core.wiring is wiring
    ):
        return False
    if remembered:
        _require_in_step(core, rule, neuron, (source, below), window or 1)
    _see(its_wiring, source, core)
    return True


def _remembered(below: Producer, neuron: Neuron) -> bool:
    """Return whether a rule that reads the memory of the next readout has a filter of the layer's own."""
    return isinstance(neuron, Readout) and (below.rule.derives or below.rule.above.needs_network)


def _see(wiring: Wiring | None, below: Core, above: Core) -> None:
    forget = None if wiring is None else wiring.saw(below.activity, above.activity)
    if forget is not None:
        above.noted.append(forget)


def _require_in_step(core: Core, rule: Rule, neuron: Neuron, fed: tuple[Core, Producer], ahead: int) -> None:
    """Raise RuntimeError where a layer has not run whenever one has that feeds it, as that one's filter takes it."""
    source, below = fed
    credited = bool(rule.above.groups and below.rule.above.groups)
    if source.calls == below.call and not core.in_step(source, ahead, credited=credited):
        raise RuntimeError(
            f"rule {below.rule.name!r} filters a layer ({below.neuron!r}) as {neuron!r} above it remembers its "
            f"outputs, but the two are not in step: one has run, was reset, was given a rule or ran without a graph "
            f"and the other not. Run both at each step and reset them together, tt.reset(net); or take "
            f"tt.rules.drtrl(), which has no such filter"
        )


def _told(stage: Stage, core: Core, rule: Rule, neuron: Neuron) -> bool:
    """Return whether a layer is above another one as that one was told."""
    memory = rule.above
    hops = memory.hops if core.recurrent and memory.groups else 0
    same = stage.activity is core.activity and stage.neuron is neuron
    return same and stage.groups == memory.groups and stage.hops == hops


def node_of(core: Core, rule: Rule, neuron: Neuron) -> Node:
    """Return a layer as its network's wiring has it."""
    hops = rule.above.hops if core.recurrent else 0
    return Node(neuron, core.activity, rule.above.groups, core.above, hops, core.recurrent)


def _join(below: tuple[Core, Rule, Neuron], above: tuple[Core, Rule, Neuron]) -> None:
    """Take up from a first step that a layer feeds one of which its network has not been told."""
    parts: list[Wiring] = []
    cores: list[Core] = []
    for core, rule, neuron in (below, above):
        parts.append(core.wiring or Wiring([node_of(core, rule, neuron)]))
        cores += core.peers.cores or [core]
    wiring, peers = Wiring.joined(parts, below[0].activity), Peers(tuple(dict.fromkeys(cores)))
    consumer, _, neuron = above
    peers.turn, peers.leader = below[0].peers.turn, below[0].peers.leader
    for core in peers.cores:
        consumer.noted.append(partial(_part, core, core.wiring, core.version, core.peers))
        core.turn = core.turn if core.peers is below[0].peers else -1
        core.wiring, core.version = wiring, 0
    for core in peers.cores:
        core.peers = peers
    if measured(neuron) and not consumer.activity.wanted:
        consumer.end_program()
        consumer.activity.wanted = True


def _part(core: Core, wiring: Wiring | None, version: int, peers: Peers) -> None:
    core.wiring, core.version, core.peers = wiring, version, peers


def count_filters(core: Core, rule: Rule, neuron: Neuron) -> None:
    """Note whether several filters are above a layer, which a compiled graph cannot follow.

    That stays so until there is another rule or layer above, or units above may be grouped otherwise.
    """
    counted = rule, neuron, core.above, *(stage.activity.grouping for stage in core.above.all)
    if not core.counted_for or not all(map(operator.is_, counted, core.counted_for)):
        core.apart, core.counted_for = rule.above.apart(neuron, core.above), counted


def require_traceable(core: Core, rule: Rule, neuron: Neuron) -> None:
    """Refuse to compile a layer whose rule filters by what it feeds, where a graph that is traced cannot be checked."""
    if core.bypassed:
        refuse_to_compile(
            f"credit reaches a layer ({neuron!r}) past the layers that it feeds, from a head or from "
            f"another loss. Rule {rule.name!r} treats it separately, which torch.compile cannot follow; do not compile"
        )
    if core.apart:
        refuse_to_compile(
            f"rule {rule.name!r} has several filters above a layer, which torch.compile cannot follow: take "
            f"cascade(buckets=1) with one head and hops=0, or do not compile"
        )
    if any(
        one.received is not None and any(s.activity is core.activity for s in one.above.all) for one in core.peers.cores
    ):
        refuse_to_compile(
            f"torch.compile was given a layer ({neuron._get_name()}) without one below it, which runs as it is and "
            f"distinguishes what this layer sends to it. Compile the whole network, or take tt.rules.drtrl()"
        )
    settled = core.wiring is None or core.version == core.wiring.version
    if not (core.shown and settled) and (rule.above.needs_network or rule.derives) and not isinstance(neuron, Readout):
        refuse_to_compile(
            f"rule {rule.name!r} filters a layer by what it feeds, and nothing has shown yet what that is: a compiled "
            f"graph cannot look. Run one step of the network as it is, then tt.reset(net); a network of nn.Sequential "
            f"alone needs tt.reset(net) only"
        )
    if not core.compared and rule.above.groups and core.above.stages:
        refuse_to_compile(
            f"nothing has shown yet whether credit reaches a layer ({neuron!r}) past the layers that it feeds, which "
            f"rule {rule.name!r} distinguishes and torch.compile cannot follow: run one step of the network and its "
            f"backward as it is, then tt.reset(net)"
        )


def _route(received: Received, core: Core) -> Routed | None:
    filter = received.filter
    return filter.route(core.activity) if isinstance(filter, MeanResponses | Hopped) else None
