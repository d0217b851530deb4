"""The rules of the literature: the case in which each is exact, and what it is not equal to elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from conformance.cascade import not_two_layers
from conformance.depth import deep
from conformance.networks import WAYS, network
from conformance.neurons import TRIED, kind
from conformance.recurrence import not_whole

from tracetorch.linking import layers
from tracetorch.neurons import LI
from tracetorch.rules import Rule, drtrl, ostl, otpe, pp_prop, rflo, rtrl, s_tllr, sltt, snap1
from tracetorch.testing.conformance.cascade import two_layers, under_readout
from tracetorch.testing.conformance.case import Case, Finding, apart, judge
from tracetorch.testing.conformance.kind import HARD, SOFT, Kind
from tracetorch.testing.conformance.one_layer import full
from tracetorch.testing.conformance.recurrence import ring
from tracetorch.testing.conformance.setup import MIXED, STEPS, Setup, single

LEAKY = ("LIF soft", "LIF normalized", "LIF no reset", "LIF refractory", "LIF thresholds per unit", "LIF fixed", "IF")
"""Neurons whose one state leaks with a decay that all units share."""


def decay_of(setup: Setup) -> float:
    """Return the one decay of a single layer's neuron."""
    decay = next(iter(layers(setup.net).values())).neuron.decay
    if decay is None:
        raise ValueError("the neuron has no decay")
    return float(decay.detach())


def causal(k: Kind, splits: list[int]) -> list[Finding]:
    """Without the acausal term, and with the membrane's decay, spike timing is BPTT of one layer."""
    setup = single(k.make)
    return judge(setup.run(s_tllr(lambda_pre=decay_of(setup), alpha_post=0.0), splits), setup.bptt())


def timed(k: Kind, rule: Rule) -> list[Finding]:
    """With another decay, or with the acausal term, it is not; biases and neuron parameters are."""
    setup = single(k.make)
    return judge(setup.run(rule, MIXED), setup.bptt(), differ=setup.weights())


def smoothed(k: Kind) -> list[Finding]:
    """Without smoothing, the weights have what the present step alone gives them."""
    setup = single(k.make)
    return judge(setup.run(pp_prop(decay=0.0), MIXED), setup.run(sltt(), MIXED), exact=setup.weights())


def recurrent(k: Kind, splits: list[int], to: bool) -> list[Finding]:
    """Real-time recurrent learning is BPTT in all that a recurrent layer, and its readout, learn."""
    setup = ring(k, to=to)
    return judge(setup.run(rtrl(), splits), setup.bptt())


def diagonal(k: Kind, splits: list[int]) -> list[Finding]:
    """SnAp-1 is BPTT where recurrent weights are diagonal; of dense ones it takes the diagonal."""
    setup = ring(k)
    one = next(iter(layers(setup.net).values()))
    weight = one.get_parameter("recurrent.weight")
    got = setup.run(snap1(), splits)
    others = (setup.bptt(), setup.run(drtrl()))
    differ = [finding for other in others for finding in apart(got.grads, other.grads, setup.weights())]
    with torch.no_grad():
        weight.copy_(weight.diagonal().diag())
    return [*judge(setup.run(snap1(), splits), setup.bptt()), *differ]


def same_rule(first: Rule, second: Rule, name: str) -> list[Finding]:
    """Two rules are one on a network."""
    setup = network(name)
    return judge(setup.run(second, MIXED), setup.run(first, MIXED))


def depth_three(rule: Rule, exact: Sequence[int]) -> list[Finding]:
    """Of three layers, those that are named are BPTT, and the others not."""
    setup = deep("three layers")
    rest = setup.names(*{0, 1, 2}.difference(exact))
    return judge(setup.run(rule, MIXED), setup.bptt(), differ=rest)


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of one neuron."""
    if k.name in LEAKY:
        for told, splits in WAYS.items():
            yield Case("s_tllr = BPTT", f"{k.name}, {told}", partial(causal, k, splits))
    if k.name in TRIED["cascade"]:
        claim = "otpe = BPTT"
        for told, splits in WAYS.items():
            check = partial(two_layers, k, SOFT, otpe(), splits)
            yield Case(claim, f"{k.name} below LIF, {told}", check)
        yield Case(claim, f"{k.name} to LI", partial(under_readout, k, otpe(), MIXED, LI(beta=0.85)))
        yield Case("rflo = BPTT", k.name, partial(full, k, rflo(), MIXED))
    if k.name in TRIED["recurrence"]:
        for told, splits in WAYS.items():
            yield Case("rtrl = BPTT", f"rtrl, {k.name}, {told}", partial(recurrent, k, splits, False))
            yield Case("snap1 = BPTT", f"{k.name}, {told}", partial(diagonal, k, splits))
        yield Case("rtrl = BPTT", f"rtrl, {k.name} to LI", partial(recurrent, k, MIXED, True))


def cases() -> Iterator[Case]:
    """Yield the cases of fixed networks, and the negative controls."""
    claim = "s_tllr is not BPTT"
    for name in ("LIF soft", "ALIF", "SynapticLIF", "LIF per unit"):
        k = kind(name)
        yield Case(claim, f"{name}, acausal", partial(timed, k, s_tllr(lambda_pre=0.5**0.25)), True)
        yield Case(claim, f"{name}, another decay", partial(timed, k, s_tllr(lambda_pre=0.6, alpha_post=0.0)), True)
    claim = "otpe = BPTT"
    for name in ("IF", "LIF refractory", "LIF soft not decayed"):
        yield Case(claim, f"LIF below {name}", partial(two_layers, HARD, kind(name), otpe(), MIXED))
    claim = "otpe is not BPTT"
    for name in ("SynapticLIF", "LIF hard", "ALIF, gradient"):
        yield Case(claim, f"LIF below {name}", partial(not_two_layers, kind(name), otpe(), 1e-3), True)
    yield Case(claim, "otpe, three layers", partial(depth_three, otpe(), [1, 2]), True)
    for name in ("LIF soft", "ALIF, gradient", "Resonator (a user's)"):
        yield Case("pp_prop = sltt", name, partial(smoothed, kind(name)))
        yield Case("pp_prop is not BPTT", name, partial(timed, kind(name), pp_prop(decay=0.8)), True)
    claim = "rflo is not BPTT"
    for name in ("LIF soft", "ALIF, gradient"):
        yield Case(claim, f"recurrent {name}", partial(not_whole, kind(name), rflo(), [STEPS], 0.3, 0.999), True)
    yield Case(claim, "rflo, three layers", partial(depth_three, rflo(), [2]), True)
    for name in ("LIF", "hard ALIF, LIF per unit", "Conv2d", "diagonal LIF, a user's"):
        yield Case("ostl = drtrl", f"ostl, {name}", partial(same_rule, drtrl(), ostl(), name))
        yield Case("ostl = drtrl", f"snap1, {name}", partial(same_rule, drtrl(), snap1(), name))
    claim = "ostl is not BPTT"
    yield Case(claim, "ostl, three layers", partial(depth_three, ostl(), [2]), True)
    yield Case(claim, "snap1, three layers", partial(depth_three, snap1(), [2]), True)
