"""A and B are called constant where torch.func finds them the same at random states, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from conformance.neurons import NEURONS
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.neurons import Reset
from tracetorch.neurons.blocks import generic_blocks
from tracetorch.testing.conformance.kind import Kind

UNIT = (5,)


def probed(neuron: tt.Neuron) -> tuple[Tensor, Tensor] | None:
    """Return A and B where they are the same at random states, currents and units."""
    generator = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        return 2 * torch.randn(32, *UNIT, generator=generator, dtype=torch.float64)

    states = (*(draw() for _ in neuron.state), *(draw().relu() for _ in neuron.counters))
    blocks = generic_blocks(neuron, states, draw(), {})
    entries = [x.detach().expand(32, *UNIT) for row in (*blocks.A, blocks.B) for x in row if x is not None]
    if any(not torch.allclose(x, x.flatten()[0], rtol=1e-9, atol=1e-12) for x in entries):
        return None
    size, first = len(neuron.state), torch.stack([x.flatten()[0] for x in entries])
    return first[: size * size].reshape(size, size), first[size * size :]


def same(got: tuple[Tensor, Tensor] | None, want: tuple[Tensor, Tensor] | None) -> None:
    assert (got is None) == (want is None)
    for a, b in zip(got or (), want or (), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", NEURONS, ids=lambda k: k.name)
def test_constant_blocks_are_those_that_torch_func_finds_everywhere(kind: Kind) -> None:
    neuron = kind.make(UNIT).double()
    same(neuron.constant(), probed(neuron))
    assert (neuron.constant() is not None) == (kind.presynaptic == "exact")


@pytest.mark.parametrize("kind", NEURONS, ids=lambda k: k.name)
def test_a_detached_reset_is_that_of_the_neuron_without_its_gradient(kind: Kind) -> None:
    neuron = kind.make(UNIT).double()
    detached = neuron if kind.detached is None else kind.detached(UNIT).double()
    same(neuron.constant(detach_reset=True), probed(detached))
    assert (neuron.constant(detach_reset=True) is not None) == (kind.presynaptic != "impossible")


def test_the_table_has_both_answers() -> None:
    assert {k.presynaptic for k in NEURONS} == {"exact", "detached", "impossible"}


class Own(tt.Neuron):
    """A user's neuron that resets by a `Reset`, and one whose step has no scalar form."""

    def __init__(self, reset: Reset, *, sort: bool = False) -> None:
        super().__init__(half_life=tt.Learnable(5.0))
        self.reset, self.sort = reset, sort

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        v = self.beta * s.v + current
        v = torch.sort(v, dim=-1).values if self.sort else v
        z = self.surrogate(v - self.threshold)
        return s.replace(v=self.reset.apply(v, z if self.reset.gradient else z.detach(), self.threshold)), z


@dataclass(frozen=True)
class Half(Reset):
    """A user's reset, of nothing but what it does."""

    def apply(self, membrane: Tensor, z: Tensor, threshold: Tensor) -> Tensor:
        return membrane - 0.5 * threshold * z


def test_a_users_reset_can_be_detached() -> None:
    neuron = Own(Half(gradient=True)).double()
    assert neuron.constant() is None
    same(neuron.constant(detach_reset=True), probed(Own(Half()).double()))
    assert neuron.constant(detach_reset=True) is not None and neuron.reset.gradient
    layer = tt.Layer(nn.Linear(3, 4), neuron, rule=tt.rules.ottt())
    assert layer.double()(torch.ones(2, 3, dtype=torch.float64)).shape == (2, 4)


def test_learned_values_are_read_anew() -> None:
    neuron = tt.LIF(half_life=tt.Learnable(5.0)).double()
    before = neuron.constant()
    with torch.no_grad():
        neuron.parametrizations.beta.original.add_(0.5)
    after = neuron.constant()
    assert before is not None and after is not None and not torch.equal(before[0], after[0])
    same(after, probed(neuron))


def test_what_has_no_scalar_form_is_not_called_constant_and_says_why() -> None:
    neuron = Own(tt.SoftReset(), sort=True)
    assert neuron.constant() is None
    assert "not lowered: " in repr(neuron) and "sort" in repr(neuron)
    assert "not lowered" not in repr(Own(tt.SoftReset()))
    with pytest.raises(ValueError, match=r"cannot be lowered \(.*sort"):
        tt.Layer(nn.Linear(3, 4), neuron, rule=tt.rules.ottt())(torch.ones(2, 3))
