"""One layer: full eligibility is BPTT, the presynaptic trace where it can be, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tracetorch.network import reset, set_rule
from tracetorch.rules import Rule, bptt, drtrl, eprop, ottt, sltt, tbptt, traced_bptt
from tracetorch.scan import scan
from tracetorch.testing.conformance.case import Case, Finding, equal, judge, raises, together
from tracetorch.testing.conformance.kind import Kind
from tracetorch.testing.conformance.setup import MIXED, STEPS, single
from tracetorch.testing.neuron_check import NeuronError, check_neuron
from tracetorch.testing.oracle import bptt as backpropagate
from tracetorch.testing.running import collected, split

FULL: dict[str, tuple[Rule, list[int]]] = {
    "drtrl steps": (drtrl(), [0] * STEPS),
    "drtrl(gain) scan": (drtrl(input="gain"), [STEPS]),
    "eprop mixed": (eprop(), MIXED),
    "traced_bptt steps": (traced_bptt(), [0] * STEPS),
    "traced_bptt windows of 4": (traced_bptt(), split(STEPS, 4)),
}


def full(k: Kind, rule: Rule, splits: list[int], bias: bool = True) -> list[Finding]:
    """Full eligibility is BPTT for weights, biases and every neuron parameter."""
    setup = single(k.make, bias=bias)
    return judge(setup.run(rule, splits), setup.bptt())


def one_event(k: Kind, rule: Rule, splits: list[int]) -> list[Finding]:
    """Eligibility advanced over windows without a loss is what the last step needs."""
    setup = single(k.make)
    last = len(setup.xs) - 1
    want = backpropagate(setup.net, setup.xs, lambda ys, steps: setup.loss(ys[-1:], slice(last, last + 1)))
    set_rule(setup.net, rule)
    reset(setup.net)
    start = 0
    for length in splits:
        scan(setup.net, setup.xs[start : start + length])
        start += length
    setup.loss(scan(setup.net, setup.xs[last:]), slice(last, last + 1)).backward()
    return equal(collected(setup.net), want.grads)


def presynaptic(k: Kind, splits: list[int]) -> list[Finding]:
    """The presynaptic trace is BPTT; or, for weights, that of the neuron with its reset detached; or it raises."""
    setup = single(k.make)
    if k.presynaptic == "impossible":
        return raises(lambda: setup.run(ottt(), splits), "approximate", "drtrl|eprop")
    got, want = setup.run(ottt(), splits), setup.bptt()
    if k.presynaptic == "exact":
        return judge(got, want)
    assert k.detached is not None
    weights = setup.net.state_dict()
    other = single(k.detached)
    other.net.load_state_dict(weights)
    cut = backpropagate(other.net, setup.xs, setup.loss)
    names = setup.weights()
    return together(judge(got, want, differ=names), equal(got.grads, cut.grads, names=names))


def approximated(k: Kind, splits: list[int]) -> list[Finding]:
    """An approximate presynaptic trace is not BPTT for weights; biases and neuron parameters have exact traces."""
    setup = single(k.make)
    return judge(setup.run(ottt(approximate=True), splits), setup.bptt(), differ=setup.weights())


def not_bptt(k: Kind, rule: Rule, splits: list[int]) -> list[Finding]:
    """A rule that drops the past is not BPTT."""
    setup = single(k.make)
    return judge(setup.run(rule, splits), setup.bptt(), exact=(), differ=setup.weights(), low=1e-2)


def cut(k: Kind, splits: list[int]) -> list[Finding]:
    """Truncated BPTT is autograd with the state detached at each window."""
    setup = single(k.make)
    return judge(setup.run(tbptt(), splits), setup.truncated(splits))


def neuron(k: Kind) -> list[Finding]:
    """A neuron is element-wise, finite, and its blocks are those of `torch.func`."""
    try:
        check_neuron(k.make((2, 3)), (2, 3))
    except NeuronError as error:
        return [Finding("check_neuron", 1.0, 0.0, 0.0, str(error))]
    return [Finding("check_neuron", 0.0, 0.0, 0.0)]


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of one layer of a neuron."""
    yield Case("a neuron is what rules take it to be", k.name, partial(neuron, k))
    for name, (rule, splits) in FULL.items():
        yield Case("full = BPTT", f"{name}, {k.name}", partial(full, k, rule, splits))
    yield Case("full = BPTT", f"after windows without loss, {k.name}", partial(one_event, k, drtrl(), [9, STEPS - 10]))
    yield Case("window of T = BPTT", f"tbptt, one layer, {k.name}", partial(full, k, tbptt(), [STEPS]))
    yield Case("window of T = BPTT", f"bptt steps, one layer, {k.name}", partial(full, k, bptt(), [0] * STEPS))
    yield Case("tbptt = autograd cut at windows", k.name, partial(cut, k, [4, 0, 3, STEPS - 8]))
    impossible = k.presynaptic == "impossible"
    yield Case(
        "ottt = BPTT",
        f"{k.name}, " + ("raises" if impossible else "steps"),
        partial(presynaptic, k, [0] * STEPS),
        impossible,
    )
    if impossible:
        yield Case("ottt = BPTT", f"{k.name}, approximate", partial(approximated, k, [5, STEPS - 5]), True)
    else:
        yield Case("ottt = BPTT", f"{k.name}, windows", partial(presynaptic, k, [5, 0, STEPS - 6]))
    if k.memory:
        yield Case("sltt is not BPTT", k.name, partial(not_bptt, k, sltt(), [5, STEPS - 5]), True)
        yield Case("tbptt in windows is not BPTT", k.name, partial(not_bptt, k, tbptt(), split(STEPS, 4)), True)
