"""Several layers: what is exact in each, and why the lower ones are not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tracetorch.rules import Rule, drtrl, eprop, ottt
from tracetorch.testing.conformance.case import Case, Finding, judge
from tracetorch.testing.conformance.kind import MEMORYLESS, SOFT, Kind
from tracetorch.testing.conformance.setup import INPUTS, STEPS, UNITS, Setup, build, layer, stream


def two(first: Kind, second: Kind) -> Setup:
    """Return two layers of spikes with a loss on the second's output at each step."""
    xs = stream(INPUTS)
    return build(layer(INPUTS, UNITS + 1, first.make), layer(UNITS + 1, UNITS, second.make), xs=xs)


def upper(first: Kind, second: Kind, rule: Rule, splits: list[int], both: bool) -> list[Finding]:
    """The upper layer is exact; the lower one only where the upper one's output has no memory."""
    setup = two(first, second)
    return judge(setup.run(rule, splits), setup.bptt(), differ=() if both else setup.names(0), low=1e-2)


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of two layers with a neuron below or above."""
    lower, none = SOFT, MEMORYLESS
    claim = "two layers: the upper is exact, the lower where the upper has D = 0"
    yield Case(claim, f"drtrl steps, {k.name} above", partial(upper, lower, k, drtrl(), [0] * STEPS, False))
    yield Case(claim, f"drtrl scan, {k.name} below D = 0", partial(upper, k, none, drtrl(), [STEPS], True))
    yield Case(claim, f"eprop steps, {k.name} below D = 0", partial(upper, k, none, eprop(), [0] * STEPS, True))
    if k.presynaptic == "exact":
        yield Case(claim, f"ottt, {k.name} above", partial(upper, lower, k, ottt(), [5, 0, STEPS - 6], False))
        yield Case(claim, f"ottt, {k.name} below D = 0", partial(upper, k, none, ottt(), [5, 0, STEPS - 6], True))
