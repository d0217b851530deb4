"""A convolution is the linear map it unrolls to, and a declared synapse the built-in one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from tracetorch.feedback import Symmetric
from tracetorch.layer import Layer
from tracetorch.network import set_rule
from tracetorch.rules import Rule, eprop, ottt, sltt, trace
from tracetorch.testing.conformance.case import Case, Finding, same_values, sensible
from tracetorch.testing.conformance.kind import Kind
from tracetorch.testing.conformance.linearity import splits_of
from tracetorch.testing.conformance.setup import SHORT, build, copied, readout, stream
from tracetorch.testing.running import rule_gradients

Convolution = tuple[type[nn.Module], dict[str, object], tuple[int, ...]]
"""The class of a convolution, its options, and the shape of its inputs."""
STRIDED: Convolution = (
    nn.Conv2d,
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)},
    (2, 5, 4),
)
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


def convolution(conv: Convolution, k: Kind, rule: Rule) -> list[Finding]:
    """Two convolutional layers and a readout are three dense ones."""
    make, options, shape = conv
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
        for rolled_up, flat, at in ((one, flat_one, shape), (two, flat_two, tuple(units_one))):
            flat.feedback.data.copy_(unroll(rolled_up.synapse, rolled_up.feedback.data, at))  # type: ignore[union-attr]
        flat_out.feedback.data.copy_(out.feedback.data)  # type: ignore[union-attr]
    got = setup.run(splits=splits_of(rule))
    own = rule_gradients(net, setup.xs.flatten(2), setup.loss, splits=splits_of(rule))
    grads = dict(own.grads)
    want = {n: g for n, g in grads.items() if n.startswith("3.")}
    want |= rolled(one, shape, units_one, grads, 0) | rolled(two, tuple(units_one), units_two, grads, 1)
    return [same_values(got, own), *sensible(got.grads, want)]


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of a neuron."""
    for rule in (eprop(), trace(), ottt(approximate=True)):
        check = partial(convolution, STRIDED, k, rule)
        yield Case("convolution = its unrolled linear map", f"{rule.name}, {k.name}", check)
