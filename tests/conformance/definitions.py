"""Each rule is what its definition says, on networks where it is not BPTT."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from conformance.definition import definition
from conformance.networks import NETWORKS, network, refuses
from conformance.neurons import kind

from tracetorch import rules
from tracetorch.feedback import RandomFeedback, SignSymmetric
from tracetorch.network import set_rule
from tracetorch.rules import Rule
from tracetorch.testing.conformance.case import Case, Finding, same_values, sensible
from tracetorch.testing.conformance.setup import INPUTS, SHORT, UNITS, build, layer, readout, stream
from tracetorch.testing.oracle import Out

DEFINED: dict[str, Rule] = {
    "sltt": rules.sltt(),
    "eprop": rules.eprop(),
    "eprop(0.6)": rules.eprop(kappa=0.6),
    "drtrl": rules.drtrl(),
    "drtrl(gain)": rules.drtrl(input="gain"),
    "otpe": rules.otpe(),
    "otpe, random": rules.otpe(feedback=RandomFeedback()),
    "pp_prop": rules.pp_prop(decay=0.8),
    "pp_prop, random": rules.pp_prop(decay=0.6, feedback=RandomFeedback()),
    "drtrl, signs": rules.drtrl(feedback=SignSymmetric()),
    "rflo": rules.rflo(),
    "s_tllr": rules.s_tllr(),
    "s_tllr, random": rules.s_tllr(lambda_pre=0.6, alpha_post=0.5, feedback=RandomFeedback()),
    "stdp": rules.stdp(tau_plus=5.0, tau_minus=4.0),
    "triplet_stdp": rules.triplet_stdp(tau=(5.0, 4.0, 3.0, 6.0), pair=(0.5, 0.8), triplet=(0.6, 0.3)),
    "trace": rules.trace(decay=0.7),
    "rate": rules.rate(),
    "sltt, random": rules.sltt(feedback=RandomFeedback()),
    "eprop, random": rules.eprop(feedback=RandomFeedback()),
    "drtrl(gain), random": rules.drtrl(input="gain", feedback=RandomFeedback()),
    "trace, random": rules.trace(decay=0.7, feedback=RandomFeedback()),
    "rate, random": rules.rate(feedback=RandomFeedback()),
}
"""Rules whose definition needs no window."""
SAME_DECAY = (
    "LIF",
    "recurrent SynapticLIF, LIF",
    "Conv2d",
    "a user's synapse",
    "Mean",
    "spikes out",
    "modules between",
)
"""Networks whose neurons have one decay each, so that inputs are averaged with it."""


def defined(name: str, rule: Rule, out: Out = "all") -> list[Finding]:
    """A rule gives what its definition gives, step by step and dense."""
    setup = network(name, steps=SHORT)
    set_rule(setup.net, rule)
    want = definition(setup.net, setup.xs, setup.loss, out=out)
    got = setup.run(splits=[SHORT] if rule.window == "sequence" else [4, 0, SHORT - 5], out=out)
    return [same_values(got, want), *sensible(got.grads, want.grads)]


def presynaptic(names: tuple[str, str], random: bool) -> list[Finding]:
    """The presynaptic trace in depth is the full one of neurons whose resets are detached."""
    xs = stream(INPUTS, steps=SHORT)
    first, second = (kind(n) for n in names)
    setup = build(layer(INPUTS, UNITS, first.make), layer(UNITS, UNITS, second.make), readout(), xs=xs)
    set_rule(setup.net, rules.ottt(feedback=RandomFeedback()) if random else rules.ottt())
    want = definition(setup.net, setup.xs, setup.loss)
    got = setup.run(splits=[4, 0, SHORT - 5])
    return [same_values(got, want), *sensible(got.grads, want.grads)]


def cases() -> Iterator[Case]:
    """Yield the cases of each rule and network."""
    claim = "a rule is its definition"
    for label, rule in DEFINED.items():
        one_decay = label.startswith(("trace", "rate", "otpe"))
        for name in NETWORKS:
            chain = name not in ("residual", "two heads")
            if label.startswith("otpe") and name == "Conv2d":
                continue  # a layer above has decays per unit
            if label == "triplet_stdp" and name == "a user's synapse":
                continue  # a weight of which sees more than one input
            if chain and not refuses(name, rule) and (not one_decay or name in SAME_DECAY):
                yield Case(claim, f"{label}, {name}", partial(defined, name, rule))
    for name in SAME_DECAY:
        yield Case(claim, f"trace, one event, {name}", partial(defined, name, rules.trace(decay=0.7), "last"))
        if name not in ("spikes out", "Conv2d"):
            yield Case(claim, f"trace(), one event, {name}", partial(defined, name, rules.trace(), "last"))
    for names in (
        ("LIF soft", "SynapticLIF"),
        ("LIF soft, gradient", "IF"),
        ("SynapticLIF, gradient", "LIF refractory"),
    ):
        for random in (False, True):
            label = f"ottt{', random' if random else ''}, {' and '.join(names)}"
            yield Case(claim, label, partial(presynaptic, names, random))
