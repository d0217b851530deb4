"""Single steps, one scan and any split of it: the same values and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from conformance.networks import HOPS, NETWORKS, RANDOM, RECURRENT, STEPWISE, network, refuses

from tracetorch.rules import Rule, rate, tbptt, traced_bptt
from tracetorch.testing.conformance.case import Case, Finding, apart, raises, same_values, sensible
from tracetorch.testing.conformance.setup import SHORT, STEPS
from tracetorch.testing.oracle import Out, learned

SPLITS: tuple[list[int], ...] = ([SHORT], [4, 0, 1, SHORT - 6])
MORE: tuple[list[int], ...] = ([1] * SHORT, [SHORT - 1, 1], [1, SHORT - 1], [2, 3, 0, 5])
FEW = ("LIF", "recurrent SynapticLIF, LIF", "Conv2d", "modules between")
"""Networks on which random feedback is tried too."""


def splits_agree(name: str, rule: Rule, out: Out = "all") -> list[Finding]:
    """Steps through `net(x)` and windows through `scan` of any lengths agree."""
    setup = network(name, steps=SHORT)
    want = setup.run(rule, [0] * SHORT, out=out)
    found = [same_values(want, setup.bptt(out=out))]
    for splits in (*SPLITS, *MORE) if name == "LIF" else SPLITS:
        got = setup.run(splits=splits, out=out)
        found += [same_values(got, want), *sensible(got.grads, want.grads)]
    return found


def splits_differ(rule: Rule, names: tuple[str, ...]) -> list[Finding]:
    """For a rule whose window means something, other windows give another gradient."""
    setup = network("hard ALIF, LIF per unit")
    one = setup.run(rule, [STEPS])
    parts = setup.run(rule, [5] * 3)
    return apart(parts.grads, one.grads, [n for n in learned(setup.net) if n.startswith(names)])


def rate_refuses() -> list[Finding]:
    """`rate` takes no single steps."""
    setup = network("LIF")
    return raises(lambda: setup.run(rate(), [0] * STEPS))


def cases() -> Iterator[Case]:
    """Yield the cases of fixed networks."""
    claim = "single steps = one scan = any split"
    for name in NETWORKS:
        rules = {**STEPWISE, **(RANDOM if name in FEW else {})}
        for told, rule in rules.items():
            if refuses(name, rule):
                continue
            yield Case(claim, f"{told}, {name}", partial(splits_agree, name, rule))
        for told in ("trace", "cascade", "trace, random", "ottt") if name in FEW else ("trace", "cascade"):
            if refuses(name, rules[told]):
                continue
            yield Case(claim, f"{told}, one event, {name}", partial(splits_agree, name, rules[told], "last"))
    for told, rule in HOPS.items():
        yield Case(claim, f"{told}, {RECURRENT}", partial(splits_agree, RECURRENT, rule))
    claim = "windows of other lengths give other gradients"
    yield Case(claim, "tbptt", partial(splits_differ, tbptt(), ("0.", "1.")), True)
    yield Case(claim, "traced_bptt", partial(splits_differ, traced_bptt(), ("0.",)), True)
    yield Case("rate in parts is refused", "steps", rate_refuses, True)
