"""A lowered step has the values of the step bit for bit, and the Jacobian blocks that torch.func takes of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from conformance.neurons import NEURONS
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.neurons import effective_parameters
from tracetorch.neurons.blocks import Blocks, generic_blocks
from tracetorch.neurons.lowering import Lowered, NotLowered, advance_text, tensor_blocks
from tracetorch.testing.conformance.kind import Kind

UNIT = (5,)


class Adaptive(tt.Neuron):
    state = ("v", "a")

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        v = self.beta * s.v + current
        z = self.surrogate(v - self.threshold - 0.3 * s.a)
        return s.replace(v=v - z * self.threshold, a=0.95 * s.a + z), z


class Sorted(tt.Neuron):
    """An operation that has no scalar form."""

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        v = torch.sort(self.beta * s.v + current, dim=-1).values
        return s.replace(v=v), v


def own(unit: tuple[int, ...]) -> tt.Neuron:
    return Adaptive(half_life=tt.Learnable(7.0, shape=unit), threshold=tt.Learnable(0.8))


KINDS = (*NEURONS, Kind("a user's", own, "impossible", spikes=True))


def drawn(neuron: tt.Neuron) -> tuple[tuple[Tensor, ...], Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        return torch.randn(7, 4, *UNIT, generator=generator, dtype=torch.float64)

    counters = tuple(draw().relu().round() for _ in neuron.counters)
    return (*(draw() for _ in neuron.state), *counters), 1.5 * draw()


def program_of(neuron: tt.Neuron) -> Lowered:
    program = neuron.lowered()
    assert isinstance(program, Lowered), program
    return program


def flat(blocks: Blocks, like: Tensor) -> list[Tensor]:
    rows = [*blocks.A, blocks.B, blocks.D, [blocks.psi]]
    rows += [[*blocks.P[n], blocks.Q[n]] for n in sorted(blocks.Q)]
    return [torch.zeros_like(like) if x is None else x.expand(like.shape) for row in rows for x in row]


def both(neuron: tt.Neuron, program: Lowered) -> tuple[list[Tensor], list[Tensor]]:
    s, current = drawn(neuron)
    params = {n: v.detach() for n, v in effective_parameters(neuron).items()}
    size = program.states
    values = [params.get(n, v.detach()) for n, v in program.named_values(neuron)]
    lowered = tensor_blocks(program, tuple(params))(s[:size], s[size:], current, values)
    return flat(lowered, current), flat(generic_blocks(neuron, s, current, params), current)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_lowered_blocks_are_those_of_torch_func(kind: Kind) -> None:
    neuron = kind.make(UNIT).double()
    for got, want in zip(*both(neuron, program_of(neuron)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_another_program_is_not_the_neurons() -> None:
    neuron = own(UNIT).double()
    program = program_of(neuron)
    wrong = replace(program, psi=program.z)
    got, want = both(neuron, wrong)
    assert any(not torch.allclose(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_scalar_text_has_the_steps_values_bit_for_bit(kind: Kind) -> None:
    neuron = kind.make(UNIT).double()
    program = program_of(neuron)
    names: dict[str, Any] = {f: getattr(math, f, abs) for f in ("exp", "log", "sqrt", "tanh", "sin", "cos", "floor")}
    names |= {"F": float, "where": lambda c, a, b: a if c else b, "pow": math.pow, "abs": abs}
    exec(advance_text(program), names)
    s, current = drawn(neuron)
    with torch.no_grad():
        after, z = neuron.step(neuron.pack(s), current)
    if kind.spikes:
        assert 0.02 < float(z.mean()) < 0.98
    size, values = program.states, [v.detach().expand(UNIT) for v in program.values(neuron)]
    for place in [(0, 0, 0), (3, 1, 2), (6, 3, 4), (2, 2, 1), (5, 0, 3)]:
        numbers = [float(x[place]) for x in s]
        got = names["advance"](
            tuple(numbers[:size]),
            tuple(numbers[size:]),
            float(current[place]),
            tuple(float(v[place[2]]) for v in values),
        )
        numbers, want = [*got[0], *got[1], got[2]], [*(float(x[place]) for x in after), float(z[place])]
        if kind.name.startswith("Resonator"):  # torch adds with a factor in one operation, which rounds once
            assert numbers == pytest.approx(want, rel=1e-12, abs=1e-15)
        else:
            assert numbers == want


def test_a_step_is_traced_once_for_each_configuration() -> None:
    first, second = tt.LIF(half_life=10), tt.LIF(half_life=tt.Learnable(3.0, shape=(4,)))
    assert first.lowered() == second.lowered()
    assert tt.LIF(half_life=10).lowered() is first.lowered()
    before = first.lowered()
    first.surrogate = tt.surrogates.Sigmoid()
    assert first.lowered() != before
    first.surrogate = tt.surrogates.ATan()
    assert first.lowered() == before


def test_what_has_no_scalar_form_runs_through_torch_func() -> None:
    neuron = Sorted(half_life=5)
    refused = neuron.lowered()
    assert isinstance(refused, NotLowered) and refused.reason
    torch.manual_seed(0)
    net = nn.Sequential(tt.Layer(nn.Linear(3, 4), neuron, rule=tt.rules.drtrl()))
    tt.scan(net, torch.rand(6, 2, 3)).sum().backward()
    assert net[0].synapse.weight.grad is not None


def test_a_users_neuron_runs_on_the_compiled_kernels() -> None:
    pytest.importorskip("numba")
    found = []
    for backend in ("torch", "numba"):
        torch.manual_seed(0)
        hidden = tt.Layer(nn.Linear(30, 20), Adaptive(half_life=10))
        net = nn.Sequential(hidden, tt.Layer(nn.Linear(20, 3), tt.LI(half_life=10))).double()
        with torch.no_grad():
            hidden.synapse.weight.mul_(4)
        tt.set_rule(net, tt.rules.drtrl())
        tt.set_backend(net, backend)
        tt.reset(net)
        xs = (torch.rand(20, 4, 30, generator=torch.Generator().manual_seed(1)) < 0.2).double()
        with torch.no_grad():
            assert 0.02 < float(tt.scan(hidden, xs).mean()) < 0.6
        tt.reset(net)
        for part in xs.split(10):
            (tt.scan(net, part) ** 2).sum().backward()
        found.append([p.grad for p in net.parameters()])
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
