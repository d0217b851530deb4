"""Dense recurrence: e-prop's gradient is autograd's with the recurrent spikes detached, and not BPTT's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from conformance.neurons import kind, lif
from torch import Tensor, nn

from tracetorch.layer import Layer
from tracetorch.neurons import surrogates
from tracetorch.rules import Rule, cascade, drtrl, eprop, traced_bptt
from tracetorch.testing import oracle
from tracetorch.testing.agreement import agreement
from tracetorch.testing.conformance.case import Case, Finding, apart, equal, judge, same_values, together
from tracetorch.testing.conformance.kind import SOFT, Kind
from tracetorch.testing.conformance.recurrence import (
    DETACHED,
    SIZE,
    ring,
)
from tracetorch.testing.conformance.setup import (
    INPUTS,
    MIXED,
    STEPS,
    UNITS,
    Setup,
    build,
    layer,
    readout,
    stream,
    windows,
)
from tracetorch.testing.oracle import Loss, gradients_of
from tracetorch.testing.running import split


def not_whole(k: Kind, rule: Rule, splits: list[int], low: float, high: float) -> list[Finding]:
    """Without the paths through recurrent spikes the gradient points elsewhere than BPTT's."""
    setup = ring(k)
    got, want, names = setup.run(rule, splits), setup.bptt(), setup.weights()
    cosines = [Finding(f"cosine of {n}", agreement(got.grads[n], want.grads[n]).cosine, low, high) for n in names]
    return [*judge(got, want, exact=(), differ=names, low=1e-2), *cosines]


def along(net: nn.Sequential, xs: Tensor, loss: Loss, hops: int) -> dict[str, Tensor]:
    """Return BPTT's gradients along the paths through a number of recurrent spikes at most of the last recurrent layer.

    The layer runs once more for each hop, fed with the outputs of the run before; the first is fed with values alone.
    """
    modules = list(oracle.open_graph(net)[0].children())
    at, ring = [(i, one) for i, one in enumerate(net) if isinstance(one, Layer) and one.recurrent is not None][-1]
    below, above = nn.Sequential(*modules[:at]), nn.Sequential(*modules[at + 1 :])
    loop: nn.Module = ring.get_submodule("recurrent")
    inputs = [below(x) for x in xs]
    zero = torch.zeros(xs.shape[1], UNITS, dtype=xs.dtype)
    fed: list[Tensor] = []
    for hop in range(hops + 1):
        s, found = ring.neuron.zeros(zero), list[Tensor]()
        for step, x in enumerate(inputs):
            z = zero if step == 0 else fed[step - 1] if hop else found[-1].detach()
            s, out = ring.neuron.step(ring.neuron.pack(tuple(s)), ring.synapse(x) + loop(z))
            found.append(out)
        fed = found
    return gradients_of(loss(torch.stack([above(z) for z in fed]), slice(0, len(xs))), net)


def hop(k: Kind, rule: Rule, splits: list[int]) -> list[Finding]:
    """One hop is BPTT along the paths through one recurrent spike at most."""
    setup = ring(k)
    got, want = setup.run(rule, splits), along(setup.net, setup.xs, setup.loss, 1)
    return together(same_values(got, setup.bptt()), equal(got.grads, want))


FLAT = Kind("LIF of one slope", lif(surrogate=surrogates.StraightThrough(0.5, math.inf)))
"""Spikes whose surrogate derivative never changes, so that nothing varies with it in time."""
SHORT = 7
"""Steps of the sequences in which paths are followed to their end."""


def sloped(shape: str) -> Setup:
    """Return a recurrent layer of one slope: alone, under a leaky readout, or above another layer."""
    xs = stream(INPUTS, steps=SHORT)
    if shape == "above a layer":
        modules = [layer(INPUTS, UNITS + 1, kind("ALIF").make), layer(UNITS + 1, UNITS, FLAT.make, recurrent=SIZE)]
        return build(*modules, nn.Linear(UNITS, 3), xs=xs, rate=0.3)
    modules = [layer(INPUTS, UNITS, FLAT.make, recurrent=SIZE)]
    return build(*modules, *([readout()] if shape == "under a readout" else []), xs=xs, rate=0.3)


def hops_of_one_slope(shape: str, rule: Rule, hops: int, splits: list[int]) -> list[Finding]:
    """Where slopes are constant, hops are BPTT along the paths through so many recurrent spikes, and no fewer."""
    setup = sloped(shape)
    paths = [along(setup.net, setup.xs, setup.loss, h) for h in (hops, hops - 1)]
    got, want, weight = setup.run(rule, splits), setup.bptt(), ["0.synapse.weight"]
    exact = equal(got.grads, paths[0])
    if hops < SHORT - 1:
        fewer = apart(got.grads, paths[1], weight, low=1e-3)
        return together(judge(got, want, exact=(), differ=weight, low=1e-4), exact, fewer)
    return together(judge(got, want), exact)


def short(k: Kind, rule: Rule, low: float) -> list[Finding]:
    """On two steps there is no path of two hops: one hop is BPTT, and none is not."""
    setup = build(layer(INPUTS, UNITS, k.make, recurrent=SIZE), xs=stream(INPUTS, steps=2), rate=0.4)
    got, want = setup.run(rule, [0, 0]), setup.bptt()
    return judge(got, want, exact=(), differ=["0.synapse.weight"], low=low) if low else judge(got, want)


def convolutional(rule: Rule, splits: list[int], dense: bool) -> list[Finding]:
    """A map of units may feed itself back through a convolution, or through a dense map of its last dimension."""
    ring_of = nn.Linear(3, 3) if dense else nn.Conv2d(4, 4, 3, padding=1)
    one = Layer(nn.Conv2d(2, 4, 2), kind("ALIF, gradient").make((4, 3, 3)), recurrent=ring_of, rule=rule)
    setup = build(one, xs=stream(2, 4, 4))
    return judge(setup.run(rule, splits), setup.bptt(cuts=DETACHED))


def cases() -> Iterator[Case]:
    """Yield the negative controls of dense recurrence."""
    claim = "dense recurrence: e-prop is not BPTT"
    for name in ("LIF soft", "ALIF, gradient", "SynapticLIF"):
        k = kind(name)
        yield Case(claim, f"drtrl, {name}", partial(not_whole, k, drtrl(), [STEPS], 0.6, 0.999), True)
        in_windows = partial(not_whole, k, traced_bptt(), split(STEPS, 4), 0.7, 0.9999)
        yield Case(claim, f"traced_bptt in windows, {name}", in_windows, True)
    for name in ("LIF soft", "SynapticLIF", "IF"):
        k = kind(name)
        paths = "dense recurrence: one hop = BPTT along paths through one recurrent spike"
        for rule in (eprop(hops=1), cascade(hops=1)):
            for splits in ([STEPS], [0] * STEPS, MIXED):
                told = f"{rule}, {name}, {windows(splits)}"
                yield Case(paths, told, partial(hop, k, rule, splits))
        yield Case("dense recurrence: one hop = BPTT on two steps", name, partial(short, k, eprop(hops=1), 0.0))
    paths = "dense recurrence, constant slopes: hops = BPTT along paths through so many recurrent spikes"
    for shape in ("alone", "under a readout", "above a layer"):
        for hops in (1, 2, SHORT - 1):
            for rule in (eprop(hops=hops), cascade(hops=hops), cascade(hops=hops, pairs=SHORT)):
                if rule.name == "eprop" and shape == "above a layer":
                    continue
                for splits in ([SHORT], [0] * SHORT, [2, 0, SHORT - 3]):
                    told = f"{rule}, {rule.weight!r}, {hops} hops, {shape}, {windows(splits)}"
                    yield Case(paths, told, partial(hops_of_one_slope, shape, rule, hops, splits))
    soft = SOFT
    yield Case(claim, "on two steps, LIF soft", partial(short, soft, eprop(), 1e-3), True)
    for hops in (1, 3):
        bent = partial(not_whole, soft, eprop(hops=hops), [STEPS], 0.6, 0.9999)
        yield Case(claim, f"hops = {hops}, LIF soft", bent, True)
    claim = "dense recurrence: e-prop = autograd with recurrent spikes detached"
    for dense in (False, True):
        told = f"drtrl, Conv2d with a recurrent {'Linear' if dense else 'Conv2d'}"
        yield Case(claim, told, partial(convolutional, drtrl(), [4, 0, STEPS - 5], dense))
