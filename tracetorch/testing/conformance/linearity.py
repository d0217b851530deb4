"""A batch is the sum of its samples, a shared synapse keeps two traces, a reset of some rows is separate runs."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from tracetorch.layer import Layer
from tracetorch.network import reset, set_rule
from tracetorch.rules import Rule
from tracetorch.scan import scan
from tracetorch.testing.agreement import Gradients
from tracetorch.testing.conformance.case import Case, Finding, equal, same_values, together
from tracetorch.testing.conformance.networks import HOPS, RECURRENT, RULES, WHOLE, network, refuses
from tracetorch.testing.conformance.neurons import Kind, kind
from tracetorch.testing.conformance.setup import BATCH, INPUTS, Quadratic, Setup, build, layer, readout, stream
from tracetorch.testing.liveness import DEAD, require_alive
from tracetorch.testing.oracle import learned
from tracetorch.testing.running import rule_gradients

SHORT = 11


def splits_of(rule: Rule) -> list[int]:
    """Return windows for a rule: some of each length, or one where it wants the whole sequence."""
    return [SHORT] if rule.window == "sequence" else [4, 0, 1, SHORT - 6]


def added(runs: list[Gradients]) -> dict[str, Tensor]:
    """Return the sum of the gradients of several runs."""
    return {n: torch.stack([run.grads[n] for run in runs]).sum(0) for n in runs[0].grads}


def sensible(got: dict[str, Tensor], want: dict[str, Tensor]) -> list[Finding]:
    """Judge that gradients are equal; what neither has under this rule is left out."""
    names = [n for n in want if float(want[n].norm()) > 0 or float(got[n].norm()) > 0]
    return equal(got, want, names=names)


def batch(name: str, rule: Rule) -> list[Finding]:
    """A batch is the sum of its samples."""
    setup = network(name, steps=SHORT)
    return _batch(setup, rule)


def batch_of_kind(k: Kind, rule: Rule) -> list[Finding]:
    """The same for one neuron."""
    return _batch(build(layer(INPUTS, 5, k.make), readout(), xs=stream(INPUTS, steps=SHORT)), rule)


def _batch(setup: Setup, rule: Rule) -> list[Finding]:
    loss, everything = cast(Quadratic, setup.loss), slice(0, SHORT)
    got = rule_gradients(setup.net, setup.xs, loss, rule, splits=splits_of(rule))
    runs = [
        rule_gradients(setup.net, setup.xs[:, b : b + 1], loss.part(everything, b), splits=splits_of(rule))
        for b in range(BATCH)
    ]
    values = Gradients(torch.cat([run.values for run in runs], 1), {})
    return together(same_values(got, values), sensible(dict(got.grads), added(runs)))


def rows(name: str, rule: Rule, mask: list[bool]) -> list[Finding]:
    """A reset of some rows is a run of each row before it and another after it."""
    setup = network(name, steps=SHORT)
    return _rows(setup, rule, mask)


def rows_of_kind(k: Kind, rule: Rule) -> list[Finding]:
    """The same for one neuron."""
    setup = build(layer(INPUTS, 5, k.make), readout(), xs=stream(INPUTS, steps=SHORT))
    return _rows(setup, rule, [True, False, True])


def _rows(setup: Setup, rule: Rule, mask: list[bool]) -> list[Finding]:
    loss, at, late = cast(Quadratic, setup.loss), 4, SHORT - 4
    whole = rule.window == "sequence"
    first, second = ([at], [late]) if whole else ([3, 0], [0, 2, late - 3])
    got = rule_gradients(setup.net, setup.xs, loss, rule, splits=first + second, resets={at: torch.tensor(mask)})
    runs: list[Gradients] = []
    values: list[Tensor] = []
    for b, cut in enumerate(mask):
        pieces = [(slice(0, at), first), (slice(at, SHORT), second)] if cut else [(slice(0, SHORT), first + second)]
        row = [
            rule_gradients(setup.net, setup.xs[steps, b : b + 1], loss.part(steps, b), splits=splits)
            for steps, splits in pieces
        ]
        runs += row
        values.append(torch.cat([r.values for r in row]))
    return together(same_values(got, Gradients(torch.cat(values, 1), {})), sensible(dict(got.grads), added(runs)))


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
        grads.append(
            {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in learned(setup.net).items()}
        )
    return sensible(grads[1], grads[0])


def last_event(rule: Rule) -> list[Finding]:
    """With one loss at the end, a row that started again is credited since then only."""
    setup = network("LIF", steps=SHORT)
    loss, mask = cast(Quadratic, setup.loss), torch.tensor([True, False, False])
    got = rule_gradients(setup.net, setup.xs, loss, rule, splits=[4, 0, SHORT - 5], out="last", resets={4: mask})
    runs = []
    for b in range(BATCH):
        start = 4 if b == 0 else 0
        steps = slice(start, SHORT)
        runs.append(rule_gradients(setup.net, setup.xs[steps, b : b + 1], loss.part(steps, b), out="last"))
    return sensible(dict(got.grads), added(runs))


def shared(rule: Rule, tied: bool) -> list[Finding]:
    """A synapse in two layers, or a tied layer, is credited with the sum of what two of its own would be."""
    a, b = kind("LIF soft").make((INPUTS,)), kind("ALIF").make((INPUTS,))
    first = layer(INPUTS, INPUTS, a)
    second = first.tied() if tied else Layer(first.synapse, b, rule=first.rule)
    out, xs = readout(INPUTS), stream(INPUTS, steps=SHORT)
    with torch.no_grad():
        for p in first.synapse.parameters():
            p.mul_(3.0)
    net = nn.Sequential(first, second, out).double()
    require_alive(net, xs, dead=DEAD)
    setup = Setup(net, xs, Quadratic(torch.randn(SHORT, BATCH, 4, dtype=torch.float64)))
    apart = nn.Sequential(_copy(first), _copy(second), _copy(out))
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
    return together(same_values(got, own), sensible(dict(got.grads), want))


def _copy(one: Layer) -> Layer:
    return Layer(copy.deepcopy(one.synapse), copy.deepcopy(one.neuron), rule=one.rule)


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of a neuron."""
    for told in ("eprop", "ottt", "trace", "traced_bptt", "rate"):
        yield Case("batch = sum of single runs", f"{told}, {k.name}", partial(batch_of_kind, k, RULES[told]))
        if told != "rate":
            yield Case("reset(mask) = separate runs", f"{told}, {k.name}", partial(rows_of_kind, k, RULES[told]))


NAMES: tuple[str, ...] = ("LIF hard, gradient", "ALIF refractory not decayed", "SynapticLIF normalized refractory")


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
        yield Case("batch = sum of single runs", f"{told}, {RECURRENT}", partial(batch, RECURRENT, rule))
        mask = [False, True, True]
        yield Case("reset(mask) = separate runs", f"{told}, {RECURRENT}", partial(rows, RECURRENT, rule, mask))
    for told, rule in RULES.items():
        if "random" not in told or told.startswith("eprop"):
            for name in some:
                if refuses(name, rule) or (name in ("residual", "two heads") and rule.window == "sequence"):
                    continue  # the latter can only be run step by step, and says so
                yield Case("batch = sum of single runs", f"{told}, {name}", partial(batch, name, rule))
                mask = [True, True, True] if told in WHOLE else [False, True, True]
                yield Case("reset(mask) = separate runs", f"{told}, {name}", partial(rows, name, rule, mask))
            if told not in WHOLE and told != "bptt":
                claim = "reset(mask) between forward and backward"
                yield Case(claim, told, partial(between, "recurrent SynapticLIF, LIF", rule))
        for tied in (False, True):
            yield Case("shared synapse = two traces", told + (", tied" if tied else ""), partial(shared, rule, tied))
    for told in ("trace", "ottt", "trace(0.6)"):
        yield Case("reset(mask) = separate runs", f"{told}, one event", partial(last_event, RULES[told]))
