"""The rules of the literature: the case in which each is exact, and what it is not equal to elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tracetorch.network import layers
from tracetorch.rules import Rule, s_tllr
from tracetorch.testing import oracle
from tracetorch.testing.conformance.case import Case, Finding, apart, equal, same_values, together
from tracetorch.testing.conformance.neurons import Kind, kind
from tracetorch.testing.conformance.one_layer import per_unit, weights_of
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


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of one layer of a neuron."""
    if k.name in LEAKY:
        for told, splits in {"steps": [0] * STEPS, "scan": [STEPS], "windows": MIXED}.items():
            yield Case(
                "s_tllr = BPTT: causal, with the membrane's decay", f"{k.name}, {told}", partial(causal, k, splits)
            )


def cases() -> Iterator[Case]:
    """Yield the negative controls."""
    claim = "s_tllr is not BPTT with an acausal term or another decay"
    for name in ("LIF soft", "ALIF", "SynapticLIF", "LIF per unit"):
        k = kind(name)
        yield Case(claim, f"{name}, acausal", partial(timed, k, s_tllr(lambda_pre=0.5**0.25)), True)
        yield Case(claim, f"{name}, another decay", partial(timed, k, s_tllr(lambda_pre=0.6, alpha_post=0.0)), True)
