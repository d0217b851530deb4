"""The rules of the literature: the case in which each is exact, and what it is not equal to elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch

from tracetorch.linking import layers
from tracetorch.neurons import LI
from tracetorch.rules import Rule, drtrl, ostl, otpe, pp_prop, rflo, rtrl, s_tllr, sltt, snap1
from tracetorch.testing import oracle
from tracetorch.testing.conformance import cascade, recurrence
from tracetorch.testing.conformance.case import Case, Finding, apart, equal, same_values, together
from tracetorch.testing.conformance.depth import deep, names
from tracetorch.testing.conformance.networks import network
from tracetorch.testing.conformance.neurons import Kind, kind
from tracetorch.testing.conformance.one_layer import full, per_unit, weights_of
from tracetorch.testing.conformance.recurrence import not_whole, ring
from tracetorch.testing.conformance.setup import STEPS, Setup, single
from tracetorch.testing.running import rule_gradients

LEAKY = ("LIF soft", "LIF normalized", "LIF no reset", "LIF refractory", "LIF thresholds per unit", "LIF fixed", "IF")
"""Neurons whose one state leaks with a decay that all units share."""
MIXED = [4, 0, 1, STEPS - 6]


def decay_of(setup: Setup) -> float:
    """Return the one decay of a single layer's neuron."""
    decay = next(iter(layers(setup.net).values())).neuron.decay
    if decay is None:
        raise ValueError("the neuron has no decay")
    return float(decay.detach())


def causal(k: Kind, splits: list[int]) -> list[Finding]:
    """Without the acausal term, and with the membrane's decay, spike timing is BPTT of one layer."""
    setup = single(k.make)
    want = oracle.bptt(setup.net, setup.xs, setup.loss)
    rule = s_tllr(lambda_pre=decay_of(setup), alpha_post=0.0)
    got = rule_gradients(setup.net, setup.xs, setup.loss, rule, splits=splits)
    return together(same_values(got, want), equal(got.grads, want.grads))


def timed(k: Kind, rule: Rule) -> list[Finding]:
    """With another decay, or with the acausal term, it is not; biases and neuron parameters are."""
    setup = single(k.make)
    want = oracle.bptt(setup.net, setup.xs, setup.loss)
    got = rule_gradients(setup.net, setup.xs, setup.loss, rule, splits=MIXED)
    differs = apart(got.grads, want.grads, weights_of(setup))
    return together(same_values(got, want), differs, equal(got.grads, want.grads, names=per_unit(setup)))


def smoothed(k: Kind) -> list[Finding]:
    """Without smoothing, the weights have what the present step alone gives them."""
    setup = single(k.make)
    want = rule_gradients(setup.net, setup.xs, setup.loss, sltt(), splits=MIXED)
    got = rule_gradients(setup.net, setup.xs, setup.loss, pp_prop(decay=0.0), splits=MIXED)
    return together(same_values(got, want), equal(got.grads, want.grads, names=weights_of(setup)))


def recurrent(k: Kind, splits: list[int], to: bool) -> list[Finding]:
    """Real-time recurrent learning is BPTT in all that a recurrent layer, and its readout, learn."""
    setup = ring(k, to=to)
    want = oracle.bptt(setup.net, setup.xs, setup.loss)
    got = rule_gradients(setup.net, setup.xs, setup.loss, rtrl(), splits=splits)
    return together(same_values(got, want), equal(got.grads, want.grads))


def diagonal(k: Kind, splits: list[int]) -> list[Finding]:
    """SnAp-1 is BPTT where recurrent weights are diagonal; of dense ones it takes the diagonal."""
    setup = ring(k)
    one = next(iter(layers(setup.net).values()))
    weight = one.get_parameter("recurrent.weight")
    got = rule_gradients(setup.net, setup.xs, setup.loss, snap1(), splits=splits)
    whole, none = oracle.bptt(setup.net, setup.xs, setup.loss), rule_gradients(setup.net, setup.xs, setup.loss, drtrl())
    differ = [*apart(got.grads, whole.grads, weights_of(setup)), *apart(got.grads, none.grads, weights_of(setup))]
    with torch.no_grad():
        weight.copy_(weight.diagonal().diag())
    want = oracle.bptt(setup.net, setup.xs, setup.loss)
    own = rule_gradients(setup.net, setup.xs, setup.loss, snap1(), splits=splits)
    return together(same_values(own, want), equal(own.grads, want.grads), differ)


def same_rule(first: Rule, second: Rule, name: str) -> list[Finding]:
    """Two rules are one on a network."""
    setup = network(name)
    want = rule_gradients(setup.net, setup.xs, setup.loss, first, splits=MIXED)
    got = rule_gradients(setup.net, setup.xs, setup.loss, second, splits=MIXED)
    return together(same_values(got, want), equal(got.grads, want.grads))


def depth_three(rule: Rule, exact: Sequence[int]) -> list[Finding]:
    """Of three layers, those that are named are BPTT, and the others not."""
    setup = deep("three layers")
    want = oracle.bptt(setup.net, setup.xs, setup.loss)
    got = rule_gradients(setup.net, setup.xs, setup.loss, rule, splits=MIXED)
    same = [n for i in exact for n in names(setup, i)]
    rest = [n for i in range(3) if i not in exact for n in names(setup, i)]
    return together(
        same_values(got, want), equal(got.grads, want.grads, names=same), apart(got.grads, want.grads, rest)
    )


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of one neuron."""
    ways = {"steps": [0] * STEPS, "scan": [STEPS], "windows": MIXED}
    if k.name in LEAKY:
        claim = "s_tllr = BPTT"
        for told, splits in ways.items():
            yield Case(claim, f"{k.name}, {told}", partial(causal, k, splits))
    if k.name in cascade.NAMES:
        claim = "otpe = BPTT"
        for told, splits in ways.items():
            check = partial(cascade.two_layers, k, kind("LIF soft"), otpe(), splits)
            yield Case(claim, f"{k.name} below LIF, {told}", check)
        yield Case(claim, f"{k.name} to LI", partial(cascade.under_readout, k, otpe(), MIXED, LI(beta=0.85)))
        yield Case("rflo = BPTT", k.name, partial(full, k, rflo(), MIXED))

    if k.name in recurrence.NAMES:
        claim = "rtrl = BPTT"
        for told, splits in ways.items():
            yield Case(claim, f"rtrl, {k.name}, {told}", partial(recurrent, k, splits, False))
        yield Case(claim, f"rtrl, {k.name} to LI", partial(recurrent, k, MIXED, True))
        for told, splits in ways.items():
            claim = "snap1 = BPTT"
            yield Case(claim, f"{k.name}, {told}", partial(diagonal, k, splits))


def cases() -> Iterator[Case]:
    """Yield the cases of fixed networks, and the negative controls."""
    claim = "s_tllr is not BPTT"
    for name in ("LIF soft", "ALIF", "SynapticLIF", "LIF per unit"):
        k = kind(name)
        yield Case(claim, f"{name}, acausal", partial(timed, k, s_tllr(lambda_pre=0.5**0.25)), True)
        yield Case(claim, f"{name}, another decay", partial(timed, k, s_tllr(lambda_pre=0.6, alpha_post=0.0)), True)
    claim = "otpe = BPTT"
    for name in ("IF", "LIF refractory", "LIF soft not decayed"):
        yield Case(claim, f"LIF below {name}", partial(cascade.two_layers, kind("LIF hard"), kind(name), otpe(), MIXED))
    claim = "otpe is not BPTT"
    for name in ("SynapticLIF", "LIF hard", "ALIF, gradient"):
        yield Case(claim, f"LIF below {name}", partial(cascade.not_two_layers, kind(name), otpe(), 1e-3), True)
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
