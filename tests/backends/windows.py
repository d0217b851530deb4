"""Windows of a layer for the tests of backends, and the truth about them by automatic differentiation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from conformance.neurons import kind
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.backends import Cotangents, Events, Filter, Gradients, Outputs, Product, Save, Scan, Sensitivity
from tracetorch.neurons import bind
from tracetorch.neurons.lowering import Lowered
from tracetorch.synapses import LinearSynapse

INPUTS = 9
EXPECTED_RATE = (0.02, 0.9)


@dataclass(frozen=True)
class Shape:
    """Shape of a window, and which parts it has: T, B, units, states of the filter, events, recurrence."""

    steps: int = 37
    batch: int = 3
    unit: tuple[int, ...] = (17,)
    filters: int = 1
    events: bool = False
    recurrent: bool = False


@dataclass(frozen=True)
class Window:
    """A window, the same with its currents formed beforehand, and everything that can be asked of it."""

    scan: Scan
    plain: Scan
    save: Save
    cotangents: Cotangents
    constant: tuple[Tensor, Tensor]
    names: tuple[str, ...]


class Drawing:
    """Random numbers of one type; those for weights and currents are short in binary, so that every sum is exact."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.generator = torch.Generator().manual_seed(3)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64).to(self.dtype)

    def short(self, *shape: int, scale: float = 1.0) -> Tensor:
        return ((self.normal(*shape).double() * scale * 64).round() / 64).to(self.dtype)

    def spikes(self, *shape: int, share: float) -> Tensor:
        return (torch.rand(*shape, generator=self.generator) < share).to(self.dtype)


def make_filter(states: int, like: Tensor) -> Filter | None:
    """A chain of leaky filters with decays of their own."""
    chain = None
    for decay in (0.7, 0.5, 0.25)[:states]:
        one = Filter.leaky(like.new_tensor(decay))
        chain = one if chain is None else chain.then(one)
    return chain


def lowered_of(neuron: tt.Neuron) -> Lowered:
    program = neuron.lowered()
    assert isinstance(program, Lowered), program
    return program


def packed(xs: Tensor) -> Events:
    """Inputs by their events."""
    from tracetorch.backends.numba import backend
    from tracetorch.backends.numba.packed import Packed

    return Packed.pack(xs, backend().workers)


def inputs_of(scan: Scan) -> Tensor:
    """The inputs of a scan that forms its currents from events."""
    assert scan.product is not None
    return scan.product.events.dense()


def with_inputs(scan: Scan, xs: Tensor) -> Scan:
    """The scan with other inputs."""
    assert scan.product is not None
    return scan.formed(replace(scan.product, events=packed(xs)))


def window(neuron: tt.Neuron, shape: Shape, dtype: torch.dtype = torch.float64) -> Window:
    """Draw a window; neurons are driven so that spiking ones fire."""
    draw, unit, (T, B) = Drawing(dtype), shape.unit, (shape.steps, shape.batch)
    neuron = neuron.to(dtype)
    count = torch.Size(unit).numel()
    S = len(neuron.state)
    each = () if len(neuron.currents) == 1 else (len(neuron.currents),)
    counters = [draw.spikes(B, *unit, share=0.2) for _ in neuron.counters]
    s = (*(0.3 * draw.normal(B, *unit) for _ in neuron.state), *counters)
    recurrent = z = product = None
    if shape.recurrent:
        module = nn.Linear(count, count).to(dtype).requires_grad_(False)
        module.weight.copy_(draw.short(count, count, scale=count**-0.5))
        module.bias.copy_(draw.short(count, scale=0.1))
        recurrent, z = LinearSynapse(module), draw.spikes(B, *unit, share=0.3)
    if shape.events:
        xs = draw.spikes(T, B, INPUTS, share=0.3)
        xs[xs > 0] *= 1 + draw.spikes(int(xs.sum()), share=0.5)  # events of more than one size
        weight, bias = draw.short(count, INPUTS), draw.short(count, scale=0.3)
        product, current = Product(packed(xs), weight, bias), xs @ weight.t() + bias
    else:
        current = draw.short(T, B, *each, *unit) + 0.25
    above = make_filter(shape.filters, s[0])
    level = None if above is None else draw.normal(shape.filters, B, *unit)
    sigma_level = s[0].new_zeros(0, B, *each, *unit) if above is None else draw.normal(shape.filters, B, *each, *unit)
    scan = Scan(neuron, s, current, None, recurrent, z)
    E = max(1, T - 2)
    return Window(
        scan if product is None else scan.formed(product),
        scan,
        Save(True, Sensitivity(draw.normal(S, B, *each, *unit), above, sigma_level, True)),
        Cotangents(
            draw.normal(E, B, *unit),
            draw.normal(S, B, *unit),
            draw.normal(E, B, *unit),
            above,
            level,
            draw.normal(B, *unit) if shape.recurrent else None,
        ),
        (0.5 * draw.normal(S, S), draw.normal(S)),
        lowered_of(neuron).parameters,
    )


def rolled(
    scan: Scan, s: list[Tensor], currents: list[Tensor], z: Tensor | None, *, fed: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Step through a window with a graph; recurrent outputs carry one where they are `fed`."""
    outputs, size = [], len(scan.neuron.state)
    for current in currents:
        if scan.recurrent is not None and z is not None:
            current = current + scan.recurrent.current(z if fed else z.detach())
        drive = current if len(scan.neuron.currents) == 1 else scan.neuron.pack_currents(current.unbind(1))
        after, z = scan.neuron.step(scan.neuron.pack(tuple(s)), drive)
        s = [x if i < size else x.detach() for i, x in enumerate(after)]
        outputs.append(z)
    return outputs, s


def true_gradients(w: Window) -> Gradients:
    """The gradients of a window, by automatic differentiation of the scalar that its cotangents are of."""
    scan, c = w.plain, w.cotangents
    size, (T, E) = len(scan.neuron.state), (scan.steps, c.z.shape[0])
    states = [x.clone().requires_grad_(i < size) for i, x in enumerate(scan.s)]
    currents = [x.clone().requires_grad_() for x in scan.drive]
    values = {n: scan.parameter(n).expand(scan.s[0].shape).clone().requires_grad_() for n in w.names}
    z0 = None if scan.z is None else scan.z.clone().requires_grad_()
    bound = replace(scan, neuron=bind(scan.neuron, values))
    outputs, after = rolled(bound, states, currents, z0, fed=c.fed is not None)
    total = sum((torch.sum(a * b) for a, b in zip(c.s, after[:size], strict=True)), c.s.new_zeros(()))
    filtered, wrt = outputs, []
    if c.filter is not None and c.level is not None:
        f = c.filter
        level = torch.zeros_like(c.level).requires_grad_()
        wrt, now, filtered = [level], level, []
        for x in outputs:
            filtered.append(torch.tensordot(f.d, now, 1) + f.p * x)
            now = torch.tensordot(f.a, now, 1) + torch.stack([b * x for b in f.b])
        total = total + torch.sum(c.level * now)
    total = total + sum(torch.sum(a * b) for a, b in zip(c.z, filtered[T - E :], strict=True))
    if c.raw is not None:
        total = total + sum(torch.sum(a * b) for a, b in zip(c.raw, outputs[T - E :], strict=True))
    if c.fed is not None:
        total = total + torch.sum(c.fed * outputs[-1])
        wrt = [*wrt, z0]
    order = [*currents, *states[:size], *values.values(), *wrt]
    found = torch.autograd.grad(total, order, allow_unused=True)
    grads = [torch.zeros_like(x) if g is None else g for x, g in zip(order, found, strict=True)]
    rest = grads[T + size + len(values) :]
    return Gradients(
        torch.stack(grads[:T]),
        torch.stack(grads[T : T + size]),
        dict(zip(w.names, grads[T + size :], strict=False)),
        rest[0] if c.filter is not None else None,
        rest[-1] if c.fed is not None else None,
    )


def true_sensitivity(w: Window, currents: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs' sensitivities to a constant current, `[T, B, *unit]`, and those of the last states.

    Units do not mix: the derivative of a sum over units by what moves each unit is that of each unit.
    """
    scan, size = replace(w.plain, recurrent=None), len(w.plain.neuron.state)
    request = w.save.sensitivity
    assert request is not None
    moved = torch.zeros_like(scan.s[0]).requires_grad_()
    start = [x + moved * along for x, along in zip(scan.s[:size], request.sigma, strict=True)]
    outputs, after = rolled(scan, [*start, *scan.s[size:]], [x + moved for x in currents], None, fed=False)

    def derivative(x: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(x.sum(), moved, retain_graph=True)
        return found

    return torch.stack(list(map(derivative, outputs))), torch.stack(list(map(derivative, after[:size])))


def passed(above: Filter | None, values: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Values behind a filter, and its states after them."""
    out = []
    for x in values:
        if above is not None:
            y = torch.tensordot(above.d, level, 1) + above.p * x
            level = torch.tensordot(above.a, level, 1) + torch.stack([b * x for b in above.b])
            x = y
        out.append(x)
    return torch.stack(out), level


def neuron(name: str, unit: tuple[int, ...]) -> Any:
    """A neuron of the table of conformance, by name."""
    return kind(name).make(unit)


def tensors(found: Outputs | Gradients) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a result, by name."""
    for name, value in vars(found).items():
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, tuple):
            yield from ((f"{name}[{i}]", x) for i, x in enumerate(value))
        elif isinstance(value, dict):
            yield from value.items()


def assert_same(got: Outputs | Gradients, want: Outputs | Gradients, close: dict[str, Any]) -> None:
    one, other = dict(tensors(got)), dict(tensors(want))
    assert one.keys() == other.keys()
    for name, value in other.items():
        torch.testing.assert_close(one[name], value, **close, msg=lambda text, name=name: f"{name}: {text}")
