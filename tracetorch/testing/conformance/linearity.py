"""A batch is the sum of its samples, a shared synapse keeps two traces, a reset of some rows is separate runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import torch
from torch import Tensor

from tracetorch.rules import Rule, eprop, ottt, rate, trace, traced_bptt
from tracetorch.testing.agreement import Gradients
from tracetorch.testing.conformance.case import Case, Finding, same_values, sensible
from tracetorch.testing.conformance.kind import Kind
from tracetorch.testing.conformance.setup import (
    BATCH,
    INPUTS,
    SHORT,
    Quadratic,
    Setup,
    build,
    layer,
    readout,
    stream,
)
from tracetorch.testing.running import rule_gradients


def splits_of(rule: Rule) -> list[int]:
    """Return windows for a rule: some of each length, or one where it wants the whole sequence."""
    return [SHORT] if rule.window == "sequence" else [4, 0, 1, SHORT - 6]


def added(runs: list[Gradients]) -> dict[str, Tensor]:
    """Return the sum of the gradients of several runs."""
    return {n: torch.stack([run.grads[n] for run in runs]).sum(0) for n in runs[0].grads}


def of_kind(k: Kind) -> Callable[[], Setup]:
    """Return what builds a layer of a neuron and a readout on a short stream."""
    return lambda: build(layer(INPUTS, 5, k.make), readout(), xs=stream(INPUTS, steps=SHORT))


def batch(make: Callable[[], Setup], rule: Rule) -> list[Finding]:
    """A batch is the sum of its samples."""
    setup = make()
    loss, everything = cast(Quadratic, setup.loss), slice(0, SHORT)
    got = setup.run(rule, splits_of(rule))
    runs = [
        rule_gradients(setup.net, setup.xs[:, b : b + 1], loss.part(everything, b), splits=splits_of(rule))
        for b in range(BATCH)
    ]
    values = Gradients(torch.cat([run.values for run in runs], 1), {})
    return [same_values(got, values), *sensible(got.grads, added(runs))]


def rows(make: Callable[[], Setup], rule: Rule, mask: list[bool]) -> list[Finding]:
    """A reset of some rows is a run of each row before it and another after it."""
    setup = make()
    loss, at, late = cast(Quadratic, setup.loss), 4, SHORT - 4
    whole = rule.window == "sequence"
    first, second = ([at], [late]) if whole else ([3, 0], [0, 2, late - 3])
    got = setup.run(rule, first + second, resets={at: torch.tensor(mask)})
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
    return [same_values(got, Gradients(torch.cat(values, 1), {})), *sensible(got.grads, added(runs))]


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of a neuron."""
    for rule in (eprop(), ottt(approximate=True), trace(), traced_bptt(), rate()):
        yield Case("batch = sum of single runs", f"{rule.name}, {k.name}", partial(batch, of_kind(k), rule))
        if rule.window != "sequence":
            check = partial(rows, of_kind(k), rule, [True, False, True])
            yield Case("reset(mask) = separate runs", f"{rule.name}, {k.name}", check)
