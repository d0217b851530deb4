"""A convolution is the linear map it unrolls to, and a declared synapse the built-in one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from tracetorch.feedback import Symmetric
from tracetorch.layer import Layer
from tracetorch.network import set_rule
from tracetorch.rules import Rule, Smoothed, SpikeTimes, Timing, sltt
from tracetorch.synapses import LinearInWeights
from tracetorch.testing.conformance.case import Case, Finding, judge, raises, same_values, sensible
from tracetorch.testing.conformance.linearity import splits_of
from tracetorch.testing.conformance.networks import RULES
from tracetorch.testing.conformance.neurons import Kind, kind
from tracetorch.testing.conformance.setup import SHORT, build, copied, readout, stream
from tracetorch.testing.running import rule_gradients

CONVOLUTIONS: dict[str, tuple[type[nn.Module], dict[str, object], tuple[int, ...]]] = {
    "Conv1d": (nn.Conv1d, {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 7)),
    "Conv1d dilated, groups": (nn.Conv1d, {"kernel_size": 2, "dilation": 3, "groups": 2, "bias": False}, (2, 7)),
    "Conv2d": (nn.Conv2d, {"kernel_size": 3}, (2, 4, 5)),
    "Conv2d strided, padded": (nn.Conv2d, {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)}, (2, 5, 4)),
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
CHANNELS = 4


def unroll(conv: nn.Module, weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the matrix `[units, inputs]` of a convolution of inputs of a shape, as a function of its weight."""
    size = torch.Size(shape).numel()
    basis = torch.eye(size, dtype=weight.dtype).reshape(size, *shape)
    values = {"weight": weight}
    if getattr(conv, "bias", None) is not None:
        values["bias"] = torch.zeros(conv.bias.shape, dtype=weight.dtype)  # type: ignore[arg-type]
    columns: Tensor = torch.func.functional_call(conv, values, (basis,))
    return columns.reshape(size, -1).T


def spread_bias(bias: Tensor, units: torch.Size) -> Tensor:
    """Return a bias per channel as one per unit."""
    return bias.reshape(-1, *[1] * (len(units) - 1)).expand(units).reshape(-1)


def dense(layer: Layer, shape: tuple[int, ...], k: Kind) -> tuple[Layer, torch.Size]:
    """Return the dense layer that a convolutional one unrolls to, and the shape of its units."""
    conv = layer.synapse
    with torch.no_grad():
        units = conv(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:]
        matrix = unroll(conv, conv.weight, shape)  # type: ignore[arg-type]
        linear = nn.Linear(matrix.shape[1], matrix.shape[0], bias=getattr(conv, "bias", None) is not None).double()
        linear.weight.copy_(matrix)
        if linear.bias is not None:
            linear.bias.copy_(spread_bias(conv.bias, units))  # type: ignore[arg-type]
    neuron = k.make((matrix.shape[0],)).double()
    target = neuron.state_dict()
    neuron.load_state_dict({n: v.reshape(target[n].shape) for n, v in layer.neuron.state_dict().items()})
    return Layer(linear, neuron, rule=layer.rule), units


def rolled(
    layer: Layer, shape: tuple[int, ...], units: torch.Size, grads: dict[str, Tensor], at: int
) -> dict[str, Tensor]:
    """Return the gradients of a dense layer as those of the convolution that it unrolls."""
    found = {}
    weight = layer.synapse.weight.detach().requires_grad_()  # type: ignore[operator]
    matrix = unroll(layer.synapse, weight, shape)
    (found[f"{at}.synapse.weight"],) = torch.autograd.grad(matrix, weight, grads[f"{at}.synapse.weight"])
    if f"{at}.synapse.bias" in grads:
        per_unit = grads[f"{at}.synapse.bias"].reshape(units)
        found[f"{at}.synapse.bias"] = per_unit.flatten(1).sum(1)
    for name, p in layer.neuron.named_parameters():
        found[f"{at}.neuron.{name}"] = grads[f"{at}.neuron.{name}"].reshape(p.shape)
    return found


def convolution(name: str, k: Kind, rule: Rule) -> list[Finding]:
    """Two convolutional layers and a readout are three dense ones."""
    make, options, shape = CONVOLUTIONS[name]
    first = make(shape[0], CHANNELS, **options)
    with torch.no_grad():
        middle = tuple(first(torch.zeros(1, *shape)).shape[1:])
    second = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(middle) - 2](CHANNELS, 6, 2, groups=2)
    with torch.no_grad():
        last = tuple(second(torch.zeros(1, *middle)).shape[1:])
    size = torch.Size(last).numel()
    layers = [Layer(first, k.make(middle), rule=sltt()), Layer(second, k.make(last), rule=sltt())]
    setup = build(*layers, nn.Flatten(), readout(size), xs=stream(*shape, steps=SHORT))
    one, two = layers
    flat_one, units_one = dense(one, shape, k)
    flat_two, units_two = dense(two, tuple(units_one), k)
    out = setup.net[3]
    assert isinstance(out, Layer)
    flat_out = copied(out)
    net = nn.Sequential(flat_one, flat_two, nn.Flatten(), flat_out)
    set_rule(setup.net, rule)
    set_rule(net, rule)
    if not isinstance(rule.feedback, Symmetric):
        for conv, flat, at in ((one, flat_one, shape), (two, flat_two, tuple(units_one))):
            flat.feedback.data.copy_(unroll(conv.synapse, conv.feedback.data, at))  # type: ignore[union-attr]
        flat_out.feedback.data.copy_(out.feedback.data)  # type: ignore[union-attr]
    got = setup.run(splits=splits_of(rule))
    own = rule_gradients(net, setup.xs.flatten(2), setup.loss, splits=splits_of(rule))
    grads = dict(own.grads)
    want = {n: g for n, g in grads.items() if n.startswith("3.")}
    want |= rolled(one, shape, units_one, grads, 0) | rolled(two, tuple(units_one), units_two, grads, 1)
    return [same_values(got, own), *sensible(got.grads, want)]


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
    return raises(lambda: Layer(_Masked(3, 3), kind("LIF soft").make((3,))), "register_synapse")


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of a neuron."""
    for label in ("eprop", "trace", "ottt"):
        made = partial(convolution, "Conv2d strided, padded", k, RULES[label])
        yield Case("convolution = its unrolled linear map", f"{label}, {k.name}", made)


NAMES: tuple[str, ...] = ("LIF hard, gradient", "SynapticLIF per unit", "ALIF per unit", "Resonator (a user's)")


def cases() -> Iterator[Case]:
    """Yield the cases of each convolution and each rule."""
    claim = "convolution = its unrolled linear map"
    for name in CONVOLUTIONS:
        for label in ("eprop", "ottt", "trace", "traced_bptt", "eprop, random"):
            yield Case(claim, f"{label}, {name}", partial(convolution, name, kind("LIF soft"), RULES[label]))
    for label, rule in RULES.items():
        yield Case(claim, f"{label}, ALIF, Conv2d", partial(convolution, "Conv2d strided, padded", kind("ALIF"), rule))
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
