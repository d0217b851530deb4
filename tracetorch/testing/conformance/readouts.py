"""A layer and its readout: the output filter of e-prop, `trace` and `rate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.feedback import RandomFeedback
from tracetorch.network import set_rule
from tracetorch.neurons import LI, Learnable, Mean, Neuron
from tracetorch.rules import Rule, eprop, rate, trace
from tracetorch.testing.agreement import agreement
from tracetorch.testing.conformance.case import Case, Finding, apart, equal, judge, together
from tracetorch.testing.conformance.kind import Factory, Kind
from tracetorch.testing.conformance.setup import (
    INPUTS,
    STEPS,
    UNITS,
    Setup,
    build,
    event,
    layer,
    quadratic,
    readout,
    single,
    stream,
)
from tracetorch.testing.oracle import Cuts, Loss, Out, gradients_of, run
from tracetorch.testing.running import rule_gradients

LEAKY: dict[str, dict[str, Any]] = {
    "LI": {"beta": 0.85},
    "normalized LI": {"half_life": 5.0, "normalized": True},
    "learned LI": {"tau": Learnable(4.0)},
}


def fed(
    make: Factory, to: Callable[[], Neuron], *, constant: bool = False, last: bool = False, **options: Any
) -> Setup:
    """Return a layer that feeds a readout."""
    xs = stream(INPUTS, constant=constant)
    return build(layer(INPUTS, UNITS, make, **options), readout(neuron=to()), xs=xs, loss=event if last else quadratic)


def weights(setup: Setup) -> list[str]:
    """Return the names of the first layer's weights."""
    return [n for n in setup.names(0) if n.endswith(".weight")]


def filtered(k: Kind, leak: dict[str, Any], rule: Rule, splits: list[int]) -> list[Finding]:
    """The eligibility filtered with the readout's decay is BPTT through the leaky readout."""
    setup = fed(k.make, partial(LI, **leak))
    set_rule(setup.net, rule)
    return judge(setup.run(splits=splits), setup.bptt(cuts=Cuts(feedback=True)))


def unfiltered(
    k: Kind, rule: Rule, low: float, high: float, between: Callable[[], nn.Module] | None = None
) -> list[Finding]:
    """Without the filter, or with another decay, or across a normalization, the readout's memory is missed."""
    middle = [] if between is None else [between()]
    setup = build(layer(INPUTS, UNITS, k.make), *middle, readout(), xs=stream(INPUTS))
    got, want = setup.run(rule, [0] * STEPS), setup.bptt()
    found = [
        Finding(f"{n} must differ", agreement(got.grads[n], want.grads[n]).relative_error, low, high)
        for n in weights(setup)
    ]
    return [*judge(got, want, exact=[f"{len(middle) + 1}.synapse.weight"]), *found]


def counted(k: Kind, splits: list[int]) -> list[Finding]:
    """With a filter that forgets nothing, e-prop is BPTT through a plain mean."""
    setup = fed(k.make, Mean)
    want = setup.bptt()
    return together(*(judge(setup.run(rule, splits), want) for rule in (eprop(), eprop(kappa=1.0))))


def traced(k: Kind, to: Callable[[], Neuron], constant: bool, out: Out, splits: list[int]) -> list[Finding]:
    """`trace` is BPTT for biases and neuron parameters, and for weights where the input is constant."""
    setup = fed(k.make, to, constant=constant, last=out == "last")
    got, want = setup.run(trace(), splits, out=out), setup.bptt(out=out)
    return judge(got, want, differ=() if constant else weights(setup))


def running_means(net: nn.Module, xs: Tensor, loss: Loss, q: float) -> dict[str, Tensor]:
    """Differentiate a loss on the running means of a network's outputs, by autograd."""
    zs = run(net, xs)
    summed, weight, means = torch.zeros_like(zs[0]), 0.0, []
    for z in zs:
        summed, weight = q * summed + z, q * weight + 1.0
        means.append(summed / weight)
    return gradients_of(loss(torch.stack(means), slice(0, len(xs))), net)


def on_spikes(k: Kind, constant: bool, splits: list[int]) -> list[Finding]:
    """A cotangent on a layer's output is read as one on its running mean."""
    setup = single(k.make, constant=constant)
    coefficients = torch.randn(STEPS, 1, UNITS, dtype=torch.float64)

    def loss(ys: Tensor, steps: slice) -> Tensor:
        return (ys * coefficients[steps]).sum()

    want = running_means(setup.net, setup.xs, loss, 0.8)
    got = rule_gradients(setup.net, setup.xs, loss, trace(decay=0.8), splits=splits).grads
    differ = [] if constant else weights(setup)
    return [*equal(got, want, names=[n for n in want if n not in differ]), *apart(got, want, differ)]


def mean_rate(net: nn.Module, xs: Tensor) -> Loss:
    """Return a loss on the mean of the outputs over a whole sequence."""
    with torch.no_grad():
        target = torch.randn(run(net, xs).shape[1:], dtype=torch.float64)
    return lambda ys, steps: 0.5 * ((ys.mean(0) - target) ** 2).sum()


def rated(k: Kind, constant: bool, to: Callable[[], Neuron] | None) -> list[Finding]:
    """`rate` is BPTT over one scan: for weights with constant input, for the rest with any."""
    if to is None:
        setup = build(layer(INPUTS, UNITS, k.make), xs=stream(INPUTS, constant=constant), loss=mean_rate)
    else:
        setup = fed(k.make, to, constant=constant, last=True)
    out: Out = "all" if to is None else "last"
    got, want = setup.run(rate(), out=out), setup.bptt(out=out)
    return judge(got, want, differ=() if constant else weights(setup))


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of a neuron that feeds a readout."""
    if not k.spikes:
        return
    for i, (name, leak) in enumerate(LEAKY.items()):
        splits = [[0] * STEPS, [STEPS], [4, 0, STEPS - 5]][i]
        yield Case("kappa e-prop = BPTT through LI", f"{k.name} to {name}", partial(filtered, k, leak, eprop(), splits))
    random = eprop(feedback=RandomFeedback())
    feedback = partial(filtered, k, LEAKY["LI"], random, [6, STEPS - 6])
    yield Case("kappa e-prop = BPTT through LI", f"{k.name}, random feedback", feedback)
    yield Case(
        "kappa e-prop = BPTT through LI", f"{k.name}, filter of 1 to Mean", partial(counted, k, [6, 0, STEPS - 7])
    )
    lost = partial(unfiltered, k, eprop(kappa=0.0), 0.05, 3.0)
    yield Case("e-prop without kappa is not BPTT through LI", k.name, lost, True)
    claim = "trace = BPTT"
    yield Case(claim, f"{k.name}, one event", partial(traced, k, partial(LI, beta=0.85), True, "last", [STEPS]))
    yield Case(
        claim,
        f"{k.name}, one event, steps",
        partial(traced, k, partial(LI, beta=0.7, normalized=True), True, "last", [0] * STEPS),
    )
    yield Case(
        claim,
        f"{k.name}, loss at each step",
        partial(traced, k, partial(LI, tau=Learnable(4.0)), True, "all", [5, 0, STEPS - 6]),
    )
    yield Case(claim, f"{k.name} to Mean", partial(traced, k, Mean, True, "last", [4, STEPS - 4]))
    yield Case(claim, f"{k.name}, running mean of its own output", partial(on_spikes, k, True, [5, 0, STEPS - 6]))
    claim = "trace with modulated input: biases and neuron parameters = BPTT, weights not"
    yield Case(claim, k.name, partial(traced, k, partial(LI, beta=0.85), False, "last", [STEPS]), True)
    yield Case(claim, f"{k.name}, running mean", partial(on_spikes, k, False, [0] * STEPS), True)
    yield Case("rate = BPTT", f"{k.name} to Mean", partial(rated, k, True, Mean))
    yield Case("rate = BPTT", f"{k.name}, mean of outputs", partial(rated, k, True, None))
    yield Case("rate with modulated input: weights are not BPTT's", k.name, partial(rated, k, False, Mean), True)
