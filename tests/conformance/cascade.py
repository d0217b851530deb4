"""Credit through the memory of the layers above: where it is BPTT's, at any depth of two, and where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from conformance.depth import deep
from conformance.neurons import kind

from tracetorch.neurons import LI, LIF
from tracetorch.rules import Rule, cascade, drtrl, eprop, sltt
from tracetorch.testing.conformance.cascade import SPLITS, of_several, two_layers, under_linear, under_readout
from tracetorch.testing.conformance.case import Case, Finding, judge
from tracetorch.testing.conformance.kind import HARD, SOFT, Kind
from tracetorch.testing.conformance.setup import (
    STEPS,
    windows,
)

ABOVE = ("IF", "LIF soft", "LIF refractory", "SynapticLIF", "LIF soft not decayed")
"""Neurons whose states pass on alike whatever their spikes: above them credit is exact."""
SEVERAL = Kind("LIF of three decays", lambda unit: LIF(beta=torch.tensor([0.5, 0.9, 0.7, 0.9, 0.5])))
"""A neuron whose units respond in three ways."""


def not_two_layers(above: Kind, rule: Rule, low: float) -> list[Finding]:
    """The lower of two layers is not BPTT under another rule, or below a neuron whose states pass on as it spikes."""
    setup = under_linear(SOFT, above)
    return judge(setup.run(rule, [0] * STEPS), setup.bptt(), differ=setup.names(0), low=low)


def not_exact_anywhere(above: Kind, rule: Rule, low: float) -> list[Finding]:
    """No hidden layer is BPTT under a rule without traces."""
    setup = under_linear(SOFT, above)
    return judge(setup.run(rule, [0] * STEPS), setup.bptt(), exact=(), differ=setup.names(0, 1), low=low)


def one_pair(above: Kind) -> list[Finding]:
    """One pair loses some of the weights' credit, and none of that of biases and neuron parameters."""
    setup = under_linear(SOFT, above)
    got, want = setup.run(cascade(pairs=1), [0] * STEPS), setup.bptt()
    rest = [name for name in setup.names(0, 1) if not name.endswith("synapse.weight")]
    return judge(got, want, exact=rest, differ=["0.synapse.weight"])


def three_layers(rule: Rule) -> list[Finding]:
    """The lowest of three layers is near BPTT, and not BPTT."""
    setup = deep("three layers")
    return judge(setup.run(rule), setup.bptt(), differ=setup.names(0), low=1e-4)


def cases() -> Iterator[Case]:
    """Yield the cases of fixed networks, and the negative controls."""
    claim = "cascade = BPTT: two layers under a head without memory"
    for name in ABOVE:
        for splits in SPLITS:
            told = f"LIF below {name}, {windows(splits)}"
            yield Case(claim, told, partial(two_layers, HARD, kind(name), cascade(), splits))
    for splits in SPLITS:
        told = f"LIF below LIF of three decays, {windows(splits)}"
        yield Case(claim, told, partial(two_layers, HARD, SEVERAL, cascade(), splits))
    claim = "cascade = BPTT: one layer under a leaky readout"
    for splits in SPLITS:
        head = partial(LI, beta=0.7, normalized=True)
        told = f"normalized, {windows(splits)}"
        yield Case(claim, told, partial(under_readout, kind("ALIF"), cascade(), splits, head()))
    claim = "two layers are not BPTT where credit has no memory above, or slopes above pass on"
    soft, mean = SOFT, cascade(buckets=1)
    for rule in (sltt(), drtrl(), eprop()):
        check = not_exact_anywhere if rule.name == "sltt" else not_two_layers
        yield Case(claim, f"{rule}", partial(check, soft, rule, 1e-2), True)
    for name in ("LIF hard", "LIF hard, gradient", "ALIF, gradient"):
        yield Case(claim, f"cascade below {name}", partial(not_two_layers, kind(name), cascade(), 1e-4), True)
    yield Case(claim, "cascade of one mean below three decays", partial(not_two_layers, SEVERAL, mean, 1e-2), True)
    yield Case(claim, "one pair, weights", partial(one_pair, soft), True)
    claim = "one layer under readouts of several decays is not BPTT by one filter"
    heads = [LI(beta=0.85), LI(beta=0.5)]
    yield Case(claim, "drtrl, two heads", partial(of_several, soft, heads, drtrl(), [STEPS], 1e-2), True)
    one = [LI(beta=torch.tensor([0.5, 0.9, 0.7, 0.9]))]
    yield Case(claim, "the mean of a decay per unit", partial(of_several, soft, one, mean, [STEPS], 1e-2), True)
    yield Case("cascade at depth 3 is not BPTT", "three layers", partial(three_layers, cascade()), True)
