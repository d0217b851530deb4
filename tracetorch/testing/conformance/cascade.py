"""Credit through the memory of the layers above: where it is BPTT's, at any depth of two, and where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import nn

from tracetorch.neurons import LI, Learnable, Neuron
from tracetorch.rules import Rule, cascade
from tracetorch.testing.conformance.case import Case, Finding, judge
from tracetorch.testing.conformance.kind import SOFT, Kind
from tracetorch.testing.conformance.setup import (
    INPUTS,
    MIXED,
    OUTPUTS,
    STEPS,
    UNITS,
    Beside,
    Setup,
    build,
    layer,
    readout,
    stream,
    windows,
)

SPLITS: tuple[list[int], ...] = ([STEPS], [0] * STEPS, MIXED)


def under_linear(below: Kind, above: Kind) -> Setup:
    """Return two layers under a head without memory, with a loss at each step."""
    hidden = layer(INPUTS, UNITS + 1, below.make), layer(UNITS + 1, UNITS, above.make)
    return build(*hidden, nn.Linear(UNITS, OUTPUTS), xs=stream(INPUTS))


def two_layers(below: Kind, above: Kind, rule: Rule, splits: list[int]) -> list[Finding]:
    """Two layers under a head without memory are BPTT in all that they learn."""
    setup = under_linear(below, above)
    return judge(setup.run(rule, splits), setup.bptt())


def of_several(k: Kind, heads: Sequence[Neuron], rule: Rule, splits: list[int], low: float = 0.0) -> list[Finding]:
    """One layer under readouts of several decays is BPTT in all that it learns; with `low`, it is not."""
    setup = build(layer(INPUTS, UNITS, k.make), Beside(*(readout(neuron=head) for head in heads)), xs=stream(INPUTS))
    got, want = setup.run(rule, splits), setup.bptt()
    return judge(got, want, exact=(), differ=setup.names(0), low=low) if low else judge(got, want)


def under_readout(k: Kind, rule: Rule, splits: list[int], head: Neuron) -> list[Finding]:
    """One layer under a leaky readout is BPTT in all that it learns."""
    setup = build(layer(INPUTS, UNITS, k.make), readout(neuron=head), xs=stream(INPUTS))
    return judge(setup.run(rule, splits), setup.bptt())


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of a neuron."""
    claim = "cascade = BPTT: two layers under a head without memory"
    if k.spikes:
        for splits in SPLITS:
            told = f"{k.name} below LIF, {windows(splits)}"
            yield Case(claim, told, partial(two_layers, k, SOFT, cascade(), splits))
        pairs = cascade(pairs=STEPS)
        yield Case(claim, f"{k.name} below LIF, all pairs", partial(two_layers, k, SOFT, pairs, [0] * STEPS))
        claim = "cascade = BPTT: one layer under a leaky readout"
        yield Case(claim, k.name, partial(under_readout, k, cascade(), MIXED, LI(beta=0.85)))
        claim = "cascade = BPTT: one layer under readouts of several decays"
        for splits in SPLITS:
            told = f"{k.name}, two heads, {windows(splits)}"
            heads = [LI(beta=0.85), LI(beta=Learnable(0.5))]
            yield Case(claim, told, partial(of_several, k, heads, cascade(), splits))
        one = [LI(beta=Learnable(torch.tensor([0.5, 0.9, 0.7, 0.9])))]
        yield Case(claim, f"{k.name}, a decay per unit", partial(of_several, k, one, cascade(), MIXED))
        heads = [LI(beta=0.8), one[0], LI(beta=0.95, normalized=True)]
        pairs = cascade(pairs=STEPS)
        yield Case(claim, f"{k.name}, three heads, all pairs", partial(of_several, k, heads, pairs, [0] * STEPS))
