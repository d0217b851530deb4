"""A batch is the sum of its samples, a shared synapse keeps two traces, a reset of some rows is separate runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import torch
from conformance.networks import HOPS, RECURRENT, RULES, WHOLE, network, refuses
from conformance.neurons import kind
from torch import Tensor, nn

from tracetorch.layer import Layer
from tracetorch.network import reset, set_rule
from tracetorch.rules import Rule
from tracetorch.scan import scan
from tracetorch.testing.conformance.case import Case, Finding, same_values, sensible
from tracetorch.testing.conformance.kind import SOFT
from tracetorch.testing.conformance.linearity import added, batch, rows, splits_of
from tracetorch.testing.conformance.setup import (
    BATCH,
    INPUTS,
    SHORT,
    Quadratic,
    Setup,
    copied,
    layer,
    readout,
    stream,
)
from tracetorch.testing.liveness import DEAD, require_alive
from tracetorch.testing.running import collected, rule_gradients


def of_name(name: str) -> Callable[[], Setup]:
    """Return what builds one of the networks on a short stream."""
    return partial(network, name, steps=SHORT)


def between(name: str, rule: Rule) -> list[Finding]:
    """A reset of some rows between a forward and its backward is one after the backward."""
    setup = network(name, steps=SHORT)
    set_rule(setup.net, rule)
    mask = torch.tensor([False, True, True])
    grads: list[dict[str, Tensor]] = []
    for early in (False, True):
        reset(setup.net)
        setup.net.zero_grad()
        for start in range(0, SHORT - 1, 2):
            steps = slice(start, start + 2)
            loss = setup.loss(scan(setup.net, setup.xs[steps]), steps)
            if start == 4 and early:
                reset(setup.net, mask)
            loss.backward()
            if start == 4 and not early:
                reset(setup.net, mask)
        grads.append(collected(setup.net))
    return sensible(grads[1], grads[0])


def last_event(rule: Rule) -> list[Finding]:
    """With one loss at the end, a row that started again is credited since then only."""
    setup = network("LIF", steps=SHORT)
    loss, mask = cast(Quadratic, setup.loss), torch.tensor([True, False, False])
    got = setup.run(rule, [4, 0, SHORT - 5], out="last", resets={4: mask})
    runs = []
    for b in range(BATCH):
        steps = slice(4 if b == 0 else 0, SHORT)
        runs.append(rule_gradients(setup.net, setup.xs[steps, b : b + 1], loss.part(steps, b), out="last"))
    return sensible(got.grads, added(runs))


def shared(rule: Rule, tied: bool) -> list[Finding]:
    """A synapse in two layers, or a tied layer, is credited with the sum of what two of its own would be."""
    a, b = SOFT.make((INPUTS,)), kind("ALIF").make((INPUTS,))
    first = layer(INPUTS, INPUTS, a)
    second = first.tied() if tied else Layer(first.synapse, b, rule=first.rule)
    out, xs = readout(INPUTS), stream(INPUTS, steps=SHORT)
    with torch.no_grad():
        for p in first.synapse.parameters():
            p.mul_(3.0)
    net = nn.Sequential(first, second, out).double()
    require_alive(net, xs, dead=DEAD)
    setup = Setup(net, xs, Quadratic(torch.randn(SHORT, BATCH, 4, dtype=torch.float64)))
    apart = nn.Sequential(copied(first), copied(second), copied(out))
    set_rule(net, rule)
    set_rule(apart, rule)
    for ours, theirs in zip(net, apart, strict=True):
        if isinstance(getattr(ours, "feedback", None), nn.Parameter):
            theirs.feedback.data.copy_(ours.feedback.data)  # type: ignore[operator, arg-type]
    got = rule_gradients(net, xs, setup.loss, splits=splits_of(rule))
    own = rule_gradients(apart, xs, setup.loss, splits=splits_of(rule))
    want = {n: own.grads[n] for n in got.grads if n in own.grads}
    for n in own.grads:
        if n.startswith("1.synapse") or (tied and n.startswith("1.neuron")):
            want["0." + n[2:]] = own.grads[n] + own.grads["0." + n[2:]]
    return [same_values(got, own), *sensible(got.grads, want)]


def cases() -> Iterator[Case]:
    """Yield the cases of fixed networks."""
    some = (
        "hard ALIF, LIF per unit",
        "recurrent SynapticLIF, LIF",
        "Conv2d",
        "ConvTranspose3d, Conv3d",
        "a user's synapse",
        "residual",
        "two heads",
        "Mean",
    )
    for told, rule in HOPS.items():
        make, mask = of_name(RECURRENT), [False, True, True]
        yield Case("batch = sum of single runs", f"{told}, {RECURRENT}", partial(batch, make, rule))
        yield Case("reset(mask) = separate runs", f"{told}, {RECURRENT}", partial(rows, make, rule, mask))
    for told, rule in RULES.items():
        if "random" not in told or told.startswith("eprop"):
            for name in some:
                if refuses(name, rule) or (name in ("residual", "two heads") and rule.window == "sequence"):
                    continue  # the latter can only be run step by step, and says so
                make, mask = of_name(name), [told in WHOLE, True, True]
                yield Case("batch = sum of single runs", f"{told}, {name}", partial(batch, make, rule))
                yield Case("reset(mask) = separate runs", f"{told}, {name}", partial(rows, make, rule, mask))
            if told not in WHOLE and told != "bptt":
                claim = "reset(mask) between forward and backward"
                yield Case(claim, told, partial(between, "recurrent SynapticLIF, LIF", rule))
        for tied in (False, True):
            yield Case("shared synapse = two traces", told + (", tied" if tied else ""), partial(shared, rule, tied))
    for told in ("trace", "ottt", "trace(0.6)"):
        yield Case("reset(mask) = separate runs", f"{told}, one event", partial(last_event, RULES[told]))
