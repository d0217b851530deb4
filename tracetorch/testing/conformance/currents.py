"""Neurons of several currents per unit: exact where one memory per weight serves them, refused elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import nn

from tracetorch.feedback import RandomFeedback
from tracetorch.neurons import LI
from tracetorch.rules import Rule, cascade, drtrl, eprop, ottt, rate, sltt, tbptt, trace, traced_bptt
from tracetorch.testing.conformance import one_layer
from tracetorch.testing.conformance.cascade import two_layers, under_readout
from tracetorch.testing.conformance.case import Case, Finding, apart, equal, judge, raises, together
from tracetorch.testing.conformance.kind import HARD, SOFT, Kind
from tracetorch.testing.conformance.linearity import batch, of_kind, rows
from tracetorch.testing.conformance.readouts import LEAKY, filtered
from tracetorch.testing.conformance.setup import (
    INPUTS,
    MIXED,
    OUTPUTS,
    STEPS,
    UNITS,
    Setup,
    build,
    layer,
    readout,
    stream,
    windows,
)
from tracetorch.testing.conformance.splits import kind_agrees
from tracetorch.testing.running import split

EXACT = ("above LIF", "above its like", "three", "under LI", "under LIF")
"""Stacks without a slope between two memories: `cascade` is exact in any windows where units are linear."""
STACKS = (*EXACT, "above two LIF", "GELU between")
LINEAR = ("LRU", "LRU on a narrow ring")
STEPWISE: dict[str, Rule] = {
    "sltt": sltt(),
    "eprop": eprop(),
    "drtrl(gain)": drtrl(input="gain"),
    "drtrl(gain), random": drtrl(input="gain", feedback=RandomFeedback()),
    "cascade": cascade(),
}
REFUSED: dict[str, Rule] = {
    "ottt": ottt(),
    "ottt, approximate": ottt(approximate=True),
    "trace": trace(),
    "rate": rate(),
    "cascade, pairs": cascade(pairs=3),
}
"""Rules that have one memory per input, or one pair per unit."""


def refused(k: Kind, rule: Rule) -> list[Finding]:
    """A rule that cannot represent the neuron says so."""
    setup = build(layer(INPUTS, UNITS, k.make), readout(), xs=stream(INPUTS))
    return raises(lambda: setup.run(rule), "currents per unit", "drtrl")


def stack(k: Kind, name: str) -> Setup:
    """Return a network in which a neuron of several currents is above another layer."""
    spiking, double = SOFT.make, HARD.make
    networks: dict[str, list[nn.Module]] = {
        "above LIF": [layer(INPUTS, UNITS + 1, double), layer(UNITS + 1, UNITS, k.make)],
        "above two LIF": [
            layer(INPUTS, UNITS, double),
            layer(UNITS, UNITS, spiking),
            layer(UNITS, UNITS, k.make),
        ],
        "above its like": [layer(INPUTS, UNITS, k.make), nn.Linear(UNITS, UNITS + 1), layer(UNITS + 1, UNITS, k.make)],
        "three": [layer(INPUTS, UNITS, k.make), layer(UNITS, 3, k.make), layer(3, UNITS, k.make)],
        "under LI": [layer(INPUTS, UNITS, k.make), layer(UNITS, UNITS, k.make)],
        "under LIF": [layer(INPUTS, UNITS, k.make), layer(UNITS, 3, k.make), layer(3, UNITS, spiking)],
        "GELU between": [layer(INPUTS, UNITS, k.make), nn.GELU(), layer(UNITS, UNITS, k.make), nn.GELU()],
    }
    head = readout() if name == "under LI" else nn.Linear(UNITS, OUTPUTS)
    return build(*networks[name], head, xs=stream(INPUTS))


def above(k: Kind, name: str, rule: Rule, splits: list[int]) -> list[Finding]:
    """Above another layer, `cascade` is BPTT in one scan, and in any windows where each pole has a filter.

    A module between two layers, which has no trace, is exact in one scan alone.
    """
    setup = stack(k, name)
    between = ("1.weight", "1.bias") if len(splits) > 1 else ()
    want = setup.bptt()
    return judge(setup.run(rule, splits), want, exact=[n for n in want.grads if n not in between])


def above_not(k: Kind, rule: Rule) -> list[Finding]:
    """Above another layer, it is exact itself, and credit below it is not where it is instantaneous or cut."""
    setup = stack(k, "above LIF")
    return judge(setup.run(rule, MIXED), setup.bptt(), differ=setup.names(0), low=1e-2)


def parted(k: Kind, rule: Rule) -> list[Finding]:
    """A window that follows another one is refused where no filter stands for what crosses over."""
    setup = stack(k, "above LIF")
    return raises(lambda: setup.run(rule, MIXED), "one tt.scan", "buckets", "drtrl")


def recurrent(k: Kind) -> list[Finding]:
    """With dense recurrence, a window of all steps is BPTT, and `drtrl` is not."""
    setup = build(layer(INPUTS, UNITS, k.make, recurrent=0.7), xs=stream(INPUTS))
    want, whole, cut = setup.bptt(), setup.run(traced_bptt()), setup.run(drtrl())
    return together(equal(whole.grads, want.grads), apart(cut.grads, want.grads, ["0.synapse.weight"]))


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of a neuron that takes several currents per unit."""
    for name, (rule, splits) in one_layer.FULL.items():
        yield Case("full = BPTT", f"{name}, {k.name}", partial(one_layer.full, k, rule, splits))
    after = partial(one_layer.one_event, k, drtrl(), [9, STEPS - 10])
    yield Case("full = BPTT", f"after windows without loss, {k.name}", after)
    yield Case("full = BPTT", f"no bias, {k.name}", partial(one_layer.full, k, drtrl(), MIXED, False))
    yield Case("tbptt = autograd cut at windows", k.name, partial(one_layer.cut, k, [4, 0, 3, STEPS - 8]))
    yield Case("sltt is not BPTT", k.name, partial(one_layer.not_bptt, k, sltt(), [5, STEPS - 5]), True)
    parts = partial(one_layer.not_bptt, k, tbptt(), split(STEPS, 4))
    yield Case("tbptt in windows is not BPTT", k.name, parts, True)
    for i, (name, leak) in enumerate(LEAKY.items()):
        check = partial(filtered, k, leak, eprop(), [[0] * STEPS, [STEPS], MIXED][i])
        yield Case("kappa e-prop = BPTT through LI", f"{k.name} to {name}", check)
    for splits in ([STEPS], [0] * STEPS, MIXED):
        label = f"{k.name}, {windows(splits)}"
        head = partial(under_readout, k, cascade(), splits, LI(beta=0.85))
        yield Case("cascade = BPTT: one layer under a leaky readout", label, head)
        claim = "cascade = BPTT: two layers under a head without memory"
        yield Case(claim, f"{label}, below LIF", partial(two_layers, k, SOFT, cascade(), splits))
    claim = "cascade = BPTT in one scan: several currents per unit above a layer"
    for name in STACKS:
        yield Case(claim, f"{name}, {k.name}", partial(above, k, name, cascade(), [STEPS]))
    claim = "cascade = BPTT: linear units above a layer, with a filter for each pole"
    for name in EXACT if k.name in LINEAR else ():
        for splits in ([0] * STEPS, MIXED):
            label = f"{name}, {k.name}, {windows(splits)}"
            yield Case(claim, label, partial(above, k, name, cascade(buckets=UNITS), splits))
    claim = "several currents per unit above a layer are not BPTT where credit is instantaneous or cut"
    for rule in (drtrl(), traced_bptt()):
        yield Case(claim, f"{rule.name}, {k.name}", partial(above_not, k, rule), True)
    claim = "several currents per unit above a layer, windows without a filter for each pole are refused"
    for rule in (cascade(),) if k.name in LINEAR else (cascade(), cascade(buckets=UNITS)):
        yield Case(claim, f"{k.name}, {rule.above!r}", partial(parted, k, rule), True)
    yield Case("window of T = BPTT", f"recurrent, {k.name}", partial(recurrent, k))
    claim = "several currents per unit are refused where there is one memory per unit"
    for name, rule in REFUSED.items():
        yield Case(claim, f"{name}, {k.name}", partial(refused, k, rule), True)
    for name, rule in STEPWISE.items():
        yield Case("single steps = one scan = any split", f"{name}, {k.name} to LI", partial(kind_agrees, k, rule))
        yield Case("batch = sum of single runs", f"{name}, {k.name} to LI", partial(batch, of_kind(k), rule))
        check = partial(rows, of_kind(k), rule, [True, False, True])
        yield Case("reset(mask) = separate runs", f"{name}, {k.name} to LI", check)
