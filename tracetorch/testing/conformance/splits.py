"""Single steps, one scan and any split of it: the same values and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tracetorch.rules import Rule, cascade, ottt, trace
from tracetorch.testing.conformance.case import Case, Finding, judge
from tracetorch.testing.conformance.kind import Kind
from tracetorch.testing.conformance.setup import INPUTS, STEPS, UNITS, build, layer, readout, stream


def kind_agrees(k: Kind, rule: Rule) -> list[Finding]:
    """The same for one neuron."""
    setup = build(layer(INPUTS, UNITS, k.make), readout(), xs=stream(INPUTS))
    want = setup.run(rule, [0] * STEPS)
    return judge(setup.run(rule, [4, STEPS - 4]), want)


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of a neuron."""
    claim = "single steps = one scan = any split"
    yield Case(
        claim, f"ottt, approximate where it must, {k.name} to LI", partial(kind_agrees, k, ottt(approximate=True))
    )
    yield Case(claim, f"trace, {k.name} to LI", partial(kind_agrees, k, trace()))
    yield Case(claim, f"cascade, {k.name} to LI", partial(kind_agrees, k, cascade()))
