"""Dense recurrence: e-prop's gradient is autograd's with the recurrent spikes detached, and not BPTT's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tracetorch.rules import Rule, bptt, drtrl, eprop, ottt, rate, tbptt, trace, traced_bptt
from tracetorch.testing.conformance.case import Case, Finding, judge, raises
from tracetorch.testing.conformance.kind import Kind
from tracetorch.testing.conformance.readouts import mean_rate
from tracetorch.testing.conformance.setup import (
    INPUTS,
    STEPS,
    UNITS,
    Setup,
    build,
    event,
    layer,
    quadratic,
    readout,
    stream,
)
from tracetorch.testing.oracle import Cuts, Out

SIZE = 1.2
"""Size of the recurrent weights, times the threshold, over the square root of the units."""
DETACHED = Cuts(recurrent=True)


def ring(k: Kind, *, constant: bool = False, to: bool = False, bias: bool = True, last: bool = False) -> Setup:
    """Return a recurrent layer, alone or with a leaky readout."""
    xs = stream(INPUTS, constant=constant)
    modules = [layer(INPUTS, UNITS, k.make, recurrent=SIZE, bias=bias)]
    return build(*modules, *([readout()] if to else []), xs=xs, loss=event if last else quadratic)


def detached(k: Kind, rule: Rule, splits: list[int], *, to: bool = False, bias: bool = True) -> list[Finding]:
    """A trace of each unit alone is autograd with the recurrent spikes detached."""
    setup = ring(k, to=to, bias=bias)
    return judge(setup.run(rule, splits), setup.bptt(cuts=DETACHED))


def in_windows(k: Kind, splits: list[int]) -> list[Finding]:
    """Windows with traces are autograd inside, and each unit alone before."""
    setup = ring(k)
    return judge(setup.run(traced_bptt(), splits), setup.traced(splits))


def truncated(k: Kind, splits: list[int]) -> list[Finding]:
    """Truncated BPTT cuts states and recurrent spikes at each window."""
    setup = ring(k)
    return judge(setup.run(tbptt(), splits), setup.truncated(splits))


def whole(k: Kind, rule: Rule, splits: list[int]) -> list[Finding]:
    """One window of the whole sequence is BPTT."""
    setup = ring(k, to=True)
    return judge(setup.run(rule, splits), setup.bptt())


def averaged(k: Kind, rule: Rule) -> list[Finding]:
    """At constant input the averaging rules are the detached autograd but for the recurrent weights."""
    uniform = rule.window == "sequence"
    if uniform:
        xs = stream(INPUTS, constant=True)
        setup = build(layer(INPUTS, UNITS, k.make, recurrent=SIZE), xs=xs, loss=mean_rate)
    else:
        setup = ring(k, constant=True, to=True, last=True)
    out: Out = "all" if uniform else "last"
    return judge(setup.run(rule, out=out), setup.bptt(out=out, cuts=DETACHED), differ=["0.recurrent.weight"])


def refused(k: Kind) -> list[Finding]:
    """A presynaptic trace of a recurrent layer that it cannot represent raises."""
    setup = ring(k)
    return raises(lambda: setup.run(ottt()), "approximate", "drtrl|eprop")


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of a recurrent layer of a neuron."""
    claim = "dense recurrence: e-prop = autograd with recurrent spikes detached"
    yield Case(claim, f"drtrl steps, {k.name}", partial(detached, k, drtrl(), [0] * STEPS))
    yield Case(claim, f"eprop windows to LI, {k.name}", partial(detached, k, eprop(), [4, 0, STEPS - 5], to=True))
    yield Case(claim, f"traced_bptt steps, {k.name}", partial(detached, k, traced_bptt(), [0] * STEPS))
    yield Case(claim, f"drtrl scan without bias, {k.name}", partial(detached, k, drtrl(), [STEPS], bias=False))
    yield Case(
        "dense recurrence: traced_bptt = autograd inside its windows", k.name, partial(in_windows, k, [5, 1, 6, 3])
    )
    yield Case("tbptt = autograd cut at windows", f"recurrent {k.name}", partial(truncated, k, [5, 0, 6, 3]))
    yield Case("window of T = BPTT", f"traced_bptt, recurrent {k.name}", partial(whole, k, traced_bptt(), [STEPS]))
    yield Case("window of T = BPTT", f"bptt, recurrent {k.name}", partial(whole, k, bptt(), [3, 0, STEPS - 4]))
    if k.presynaptic == "impossible":
        yield Case("ottt = BPTT", f"recurrent {k.name} raises", partial(refused, k), True)
    elif k.presynaptic == "exact":
        yield Case(claim, f"ottt, {k.name}", partial(detached, k, ottt(), [5, 0, STEPS - 6]))
    averages = "trace and rate, dense recurrence, constant input = autograd with recurrent spikes detached"
    yield Case(averages, f"trace, {k.name}", partial(averaged, k, trace()))
    yield Case(averages, f"rate, {k.name}", partial(averaged, k, rate()))
