"""Weights that move along the stream: traces keep what each past step was when it happened."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from conformance.eligibility import features, step_eligibility, step_parameter_eligibility
from torch import Tensor, nn

from tracetorch.layer import Layer
from tracetorch.network import reset, set_rule
from tracetorch.rules import Rule, drtrl, eprop, ottt, traced_bptt
from tracetorch.scan import scan
from tracetorch.testing.agreement import agreement
from tracetorch.testing.conformance.case import Case, Finding
from tracetorch.testing.conformance.kind import Kind
from tracetorch.testing.conformance.setup import STEPS, single
from tracetorch.testing.eligibility import unit_blocks
from tracetorch.testing.oracle import learned, starts


def slope(neuron: nn.Module, name: str) -> Tensor:
    """Return the derivative of a parameter's value with respect to the raw tensor of its parametrization, or ones."""
    raw = dict(neuron.named_parameters())[name]
    head, constrained, tail = name.rpartition("parametrizations.")
    if not constrained:
        return torch.ones_like(raw)
    value = getattr(neuron.get_submodule(head.rstrip(".")), tail.removesuffix(".original"))
    (found,) = torch.autograd.grad(value.sum(), raw)
    return found


class Ledger:
    """Advance a layer and its dense eligibilities step by step, with the parameters of the moment.

    A parametrized value has its eligibility as such; the parametrization's derivative is the present one, as a
    backward finds it. An optimizer may change the parameters between calls.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.state: tuple[Tensor, ...] | None = None
        self.E: dict[str, Tensor] = {}

    def step(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Advance by a step: the output, and `dz / dparameter` by name, `[B, units, weights]` or `[B, units]`."""
        neuron = self.layer.neuron
        with torch.no_grad():
            current = self.layer.synapse(x)
            before = tuple(neuron.zeros(current)) if self.state is None else self.state
            after, z = neuron.step(neuron.pack(before), current)
        blocks = unit_blocks(neuron, [s.unsqueeze(0) for s in before], current.unsqueeze(0))
        size, found = blocks.B.shape[-1], {}
        for name, J in features(self.layer.synapse, x).items():
            old = self.E.get("synapse." + name, J.new_zeros(*J.shape[:2], size, J.shape[2]))
            found["synapse." + name], self.E["synapse." + name] = step_eligibility(old, blocks, J, 0)
        for name in blocks.Q:
            rows = slope(neuron, name).expand(current.shape).unsqueeze(-1)
            old = self.E.get("neuron." + name, current.new_zeros(*current.shape, size))
            e, after_e = step_parameter_eligibility(old * rows, blocks, name, 0)
            found["neuron." + name], self.E["neuron." + name] = e, after_e / rows
        self.state = tuple(after)
        return z, found


def moved(k: Kind, rule: Rule, splits: list[int]) -> list[Finding]:
    """Each window's gradient is that of eligibilities which were advanced with the parameters of their time."""
    setup = single(k.make)
    net, xs, layer = setup.net, setup.xs, setup.net[0]
    assert isinstance(layer, Layer)
    set_rule(net, rule)
    reset(net)
    ledger, optimizer = Ledger(layer), torch.optim.SGD(net.parameters(), lr=0.02)
    lengths, worst = [max(s, 1) for s in splits], dict.fromkeys(learned(layer), 0.0)
    for start, s, length in zip(starts(lengths), splits, lengths, strict=True):
        window = slice(start, start + length)
        want = {n: torch.zeros_like(p) for n, p in learned(layer).items()}
        for t in range(start, window.stop):
            z, e = ledger.step(xs[t])
            z.requires_grad_()
            (bar,) = torch.autograd.grad(setup.loss(z.unsqueeze(0), slice(t, t + 1)), z)
            for n, p in learned(layer).items():
                if n.startswith("synapse."):
                    want[n] += torch.einsum("bu,buk->k", bar, e[n]).reshape(p.shape)
                else:
                    want[n] += (bar * e[n]).sum_to_size(p.shape)
        optimizer.zero_grad()
        ys = net(xs[start]).unsqueeze(0) if s == 0 else scan(net, xs[window])
        setup.loss(ys, window).backward()
        for n, p in learned(layer).items():
            if float(want[n].norm()) > 0 and p.grad is not None:
                worst[n] = max(worst[n], agreement(p.grad, want[n]).relative_error)
            elif float(want[n].norm()) > 0:
                worst[n] = float("nan")
        optimizer.step()
    return [Finding(f"{n}, the worst window", error) for n, error in worst.items()]


def for_kind(k: Kind) -> Iterator[Case]:
    """Yield the cases of a neuron."""
    claim = "weights that move: traces keep what was"
    yield Case(claim, f"drtrl steps, {k.name}", partial(moved, k, drtrl(), [0] * STEPS))
    yield Case(claim, f"eprop windows, {k.name}", partial(moved, k, eprop(), [4, 0, 5, STEPS - 10]))
    yield Case(claim, f"traced_bptt windows, {k.name}", partial(moved, k, traced_bptt(), [3, 0, 6, STEPS - 10]))
    if k.presynaptic == "exact":
        yield Case(claim, f"ottt, {k.name}", partial(moved, k, ottt(), [0, 3, 0, STEPS - 5]))
