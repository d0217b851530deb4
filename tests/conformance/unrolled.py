"""A convolution is the linear map it unrolls to, and a declared synapse the built-in one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial

import torch
from conformance.networks import RULES
from conformance.neurons import kind
from torch import Tensor, nn

from tracetorch.feedback import Symmetric
from tracetorch.layer import Layer
from tracetorch.rules import Rule, Smoothed, SpikeTimes, Timing, sltt
from tracetorch.synapses import LinearInWeights
from tracetorch.testing.conformance.case import Case, Finding, judge, raises, same_values, sensible
from tracetorch.testing.conformance.kind import SOFT
from tracetorch.testing.conformance.linearity import splits_of
from tracetorch.testing.conformance.setup import SHORT, build, copied, readout, stream
from tracetorch.testing.conformance.unrolled import (
    CHANNELS,
    STRIDED,
    Convolution,
    convolution,
)
from tracetorch.testing.running import rule_gradients

CONVOLUTIONS: dict[str, Convolution] = {
    "Conv1d": (nn.Conv1d, {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 7)),
    "Conv1d dilated, groups": (nn.Conv1d, {"kernel_size": 2, "dilation": 3, "groups": 2, "bias": False}, (2, 7)),
    "Conv2d": (nn.Conv2d, {"kernel_size": 3}, (2, 4, 5)),
    "Conv2d strided, padded": STRIDED,
    "Conv2d dilated": (nn.Conv2d, {"kernel_size": 2, "dilation": (2, 1), "padding": 1, "bias": False}, (2, 4, 4)),
    "Conv2d groups": (nn.Conv2d, {"kernel_size": 2, "groups": 2, "stride": 2}, (2, 4, 4)),
    "Conv2d depthwise, same": (nn.Conv2d, {"kernel_size": 3, "groups": 2, "padding": "same"}, (2, 3, 4)),
    "Conv2d same, even": (nn.Conv2d, {"kernel_size": 2, "padding": "same"}, (2, 3, 4)),
    "Conv2d circular": (
        nn.Conv2d,
        {"kernel_size": 3, "padding": 1, "padding_mode": "circular", "stride": 2},
        (2, 4, 5),
    ),
    "Conv3d": (nn.Conv3d, {"kernel_size": 2, "stride": (1, 2, 1), "padding": (0, 1, 0), "groups": 2}, (2, 3, 2, 3)),
    "ConvTranspose1d": (nn.ConvTranspose1d, {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}, (2, 4)),
    "ConvTranspose2d": (nn.ConvTranspose2d, {"kernel_size": 2, "stride": (2, 1), "dilation": (1, 2)}, (2, 2, 2)),
    "ConvTranspose2d groups": (nn.ConvTranspose2d, {"kernel_size": 2, "groups": 2, "bias": False}, (2, 2, 3)),
    "ConvTranspose3d": (nn.ConvTranspose3d, {"kernel_size": 2, "padding": (0, 1, 0)}, (2, 2, 3, 1)),
}


def one_layer(name: str, rule: Rule, splits: list[int], *, exact: bool) -> list[Finding]:
    """The gradients of one convolutional layer are those of BPTT under an exact rule, and not under another."""
    make, options, shape = CONVOLUTIONS[name]
    synapse = make(shape[0], CHANNELS, **options)
    with torch.no_grad():
        units = tuple(synapse(torch.zeros(1, *shape)).shape[1:])
    setup = build(Layer(synapse, kind("ALIF per unit").make(units), rule=sltt()), xs=stream(*shape, steps=SHORT))
    got, want = setup.run(rule, splits), setup.bptt()
    return judge(got, want) if exact else judge(got, want, exact=(), differ=["0.synapse.weight"])


def per_channel(rule: Rule, splits: list[int]) -> list[Finding]:
    """Values per channel, shared by the units of a map, have the gradient of BPTT."""
    synapse = nn.Conv2d(2, CHANNELS, 2, stride=2)
    k = kind("LIF per unit")
    setup = build(Layer(synapse, k.make((CHANNELS, 1, 1)), rule=sltt()), xs=stream(2, 4, 4))
    return judge(setup.run(rule, splits), setup.bptt())


def declared(rule: Rule, conv: bool) -> list[Finding]:
    """A module that is declared linear in its weights is credited as the built-in synapse is."""
    shape: tuple[int, ...] = (2, 4, 4) if conv else (6,)
    plain = nn.Conv2d(2, 3, 2, stride=2) if conv else nn.Linear(6, 12)
    units = (3, 2, 2) if conv else (12,)
    neurons = kind("LIF soft" if rule.name == "ottt" else "ALIF per unit").make(units)
    setup = build(Layer(plain, neurons, rule=sltt()), nn.Flatten(), readout(12), xs=stream(*shape, steps=SHORT))
    one, out = setup.net[0], setup.net[2]
    assert isinstance(one, Layer) and isinstance(out, Layer)
    twin = Layer(LinearInWeights(copy.deepcopy(one.synapse)), copy.deepcopy(one.neuron), rule=sltt())
    other = nn.Sequential(twin, nn.Flatten(), copied(out))
    want = setup.run(rule, splits_of(rule))
    got = rule_gradients(other, setup.xs, setup.loss, rule, splits=splits_of(rule))
    renamed = {n.replace("synapse.module.", "synapse."): g for n, g in got.grads.items()}
    if isinstance(rule.weight, Smoothed | SpikeTimes | Timing):  # the bias of a declared module is one of its weights
        renamed["0.synapse.bias"] = want.grads["0.synapse.bias"]
    return [same_values(got, want), *sensible(renamed, want.grads)]


class _Masked(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return nn.functional.linear(input, self.weight.tril(), self.bias)


def own_forward() -> list[Finding]:
    """A subclass of a known module that computes otherwise is refused."""
    return raises(lambda: Layer(_Masked(3, 3), SOFT.make((3,))), "register_synapse")


def cases() -> Iterator[Case]:
    """Yield the cases of each convolution and each rule."""
    claim = "convolution = its unrolled linear map"
    for name in CONVOLUTIONS:
        for label in ("eprop", "ottt", "trace", "traced_bptt", "eprop, random"):
            yield Case(claim, f"{label}, {name}", partial(convolution, CONVOLUTIONS[name], SOFT, RULES[label]))
    for label, rule in RULES.items():
        yield Case(claim, f"{label}, ALIF, Conv2d", partial(convolution, STRIDED, kind("ALIF"), rule))
        if isinstance(rule.feedback, Symmetric):
            for conv in (False, True):
                told = f"{label}{', Conv2d' if conv else ''}"
                yield Case("a declared synapse = the built-in one", told, partial(declared, rule, conv))
    for name in ("Conv3d", "Conv2d circular", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"):
        for label, splits in (("drtrl", [0] * SHORT), ("eprop", [4, 0, SHORT - 5]), ("traced_bptt", [3, SHORT - 3])):
            yield Case("full = BPTT", f"{label}, {name}", partial(one_layer, name, RULES[label], splits, exact=True))
        check = partial(one_layer, name, RULES["sltt"], [0] * SHORT, exact=False)
        yield Case("sltt is not BPTT", name, check, True)
    yield Case("a synapse that cannot be traced is refused", "Linear with a forward of its own", own_forward, True)
    for label, splits in (("drtrl", [0] * 15), ("eprop", [4, 11]), ("traced_bptt", [5, 5, 5])):
        yield Case("full = BPTT", f"{label}, values per channel", partial(per_channel, RULES[label], splits))
