"""A layer and its readout: the output filter of e-prop, `trace` and `rate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from conformance.neurons import kind, lif
from torch import nn

from tracetorch.neurons import LI, Mean
from tracetorch.rules import drtrl, eprop, rate, trace
from tracetorch.testing.conformance.case import Case, Finding, apart, judge, raises
from tracetorch.testing.conformance.kind import SOFT, Kind
from tracetorch.testing.conformance.readouts import (
    fed,
    unfiltered,
)
from tracetorch.testing.conformance.setup import (
    INPUTS,
    STEPS,
    UNITS,
    build,
    layer,
    readout,
    stream,
)


def across(between: Callable[[], nn.Module], told: bool) -> list[Finding]:
    """A constant linear map between a layer and its readout leaves the filter exact."""
    setup = build(layer(INPUTS, UNITS, SOFT.make), between(), readout(), xs=stream(INPUTS))
    rule = eprop(kappa=float(readout().neuron.beta)) if told else eprop()
    return judge(setup.run(rule, [4, 0, STEPS - 5]), setup.bptt(), exact=setup.names(0, 2))


def wrong_mean(k: Kind) -> list[Finding]:
    """With another decay than the readout's, `trace` is not BPTT."""
    setup = fed(k.make, partial(LI, beta=0.85), constant=True, last=True)
    got, want = setup.run(trace(decay=0.3), out="last"), setup.bptt(out="last")
    return apart(got.grads, want.grads, setup.names(0))


def rated_in_parts(k: Kind) -> list[Finding]:
    """`rate` over parts of a sequence is refused."""
    setup = fed(k.make, Mean, constant=True, last=True)
    return raises(lambda: setup.run(rate(), [5, STEPS - 5], out="last"))


def cases() -> Iterator[Case]:
    """Yield the cases that belong to no single neuron."""
    soft = SOFT
    for told, module in (
        ("Flatten", nn.Flatten),
        ("Identity", nn.Identity),
        ("Linear", partial(nn.Linear, UNITS, UNITS)),
    ):
        for given in (False, True):
            name = f"across {told}, " + ("told" if given else "found")
            yield Case("kappa e-prop = BPTT through LI", name, partial(across, module, given))
    claim = "e-prop without kappa is not BPTT through LI"
    yield Case(claim, "about 0.8 apart", partial(unfiltered, soft, eprop(kappa=0.0), 0.4, 1.2), True)
    yield Case(claim, "drtrl", partial(unfiltered, soft, drtrl(), 0.05, 3.0), True)
    yield Case(claim, "another decay", partial(unfiltered, soft, eprop(kappa=0.5), 0.05, 3.0), True)
    norm = partial(unfiltered, soft, eprop(kappa=0.85), 1e-3, 100.0, partial(nn.LayerNorm, UNITS))
    yield Case(claim, "kappa across a LayerNorm", norm, True)
    for k in (soft, kind("ALIF"), Kind("LIF fixed", lif(learn="fixed"))):
        yield Case("trace with another decay is not BPTT", k.name, partial(wrong_mean, k), True)
        yield Case("rate in parts is refused", k.name, partial(rated_in_parts, k), True)
