"""The mean over a stream is right however many steps there were."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.neurons.blocks import generic_blocks
from tracetorch.neurons.mean import LIMB, counted

SINGLE_STOPS = 2**24


def readout(rule: tt.Rule | None = None) -> tt.Layer:
    layer = tt.Layer(nn.Linear(1, 1, bias=False), tt.Mean(), rule=rule)
    nn.init.ones_(layer.synapse.weight)
    return layer


def started(layer: tt.Layer, steps: int, mean: float) -> None:
    """Put a layer where it is after many steps of a given mean."""
    layer(torch.zeros(1, 1))
    state = tt.get_state(layer)
    for k, value in enumerate((mean * steps, steps % LIMB, steps // LIMB, 0.0)):
        state[f"/s.{k}"] = torch.full_like(state[f"/s.{k}"], value)
    tt.set_state(layer, state)


@pytest.mark.parametrize("start", [100, SINGLE_STOPS - 50, SINGLE_STOPS, 3 * SINGLE_STOPS + 7, 10**10])
def test_it_counts_on_from_any_number_of_steps(start: int) -> None:
    layer = readout()
    started(layer, start, 0.0)
    total = 0
    with torch.no_grad():
        for k in range(1, 120):
            current = float(start // 100 * (k % 3))
            total += int(current)
            found = layer(torch.full((1, 1), current)).item()
            assert found == pytest.approx(total / (start + k), rel=2e-6)


def test_a_small_current_is_not_lost_in_a_large_sum() -> None:
    """Plain summation in single precision adds nothing here: the sum's last place is worth two of these currents."""
    neuron, start = tt.Mean(), SINGLE_STOPS
    one = torch.ones(1)
    s = neuron.pack((one * start, *counted(one * (start % LIMB - 1), one * (start // LIMB)), one * 0))
    plain = s.total.clone()
    for k in range(1, 2001):
        s, z = neuron.step(s, one * 0.75)
        plain = plain + 0.75
        exact = (Fraction(start) + Fraction(3, 4) * k) / (start + k)
        assert abs(Fraction(z.item()) - exact) < Fraction(1, 10**7)
    assert abs(plain.item() - (start + 1500)) > 400
    assert abs((s.total + s.rest).item() - (start + 1500)) <= 1


def test_the_count_passes_from_one_number_to_the_next() -> None:
    steps, limbs = torch.tensor([0.0, LIMB - 2.0, LIMB - 1.0]), torch.tensor([0.0, 5.0, SINGLE_STOPS - 2.0])
    steps, limbs = counted(steps, limbs)
    assert steps.tolist() == [1.0, LIMB - 1.0, 0.0] and limbs.tolist() == [0.0, 5.0, SINGLE_STOPS - 1.0]


def test_blocks_are_those_of_torch_func() -> None:
    neuron, one = tt.Mean(), torch.ones(4, 3, 2, dtype=torch.float64)
    s = (torch.randn_like(one), one * (LIMB - 1), 3 * one, 0.01 * one)
    lowered, generic = neuron.blocks(s, one, {}), generic_blocks(neuron, s, one, {})
    share = 1 / (4 * LIMB)
    for a, b, value in (
        (lowered.A[0][0], generic.A[0][0], 1.0),
        (lowered.B[0], generic.B[0], 1.0),
        (lowered.D[0], generic.D[0], share),
        (lowered.psi, generic.psi, share),
    ):
        torch.testing.assert_close(a.expand_as(one), b.expand_as(one), rtol=1e-12, atol=0.0)
        assert b.reshape(-1)[0].item() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("rule", [tt.rules.trace(), tt.rules.drtrl(), tt.rules.ottt()], ids=lambda r: r.name)
def test_values_and_gradients_are_those_of_the_plain_mean(rule: tt.Rule) -> None:
    torch.manual_seed(0)
    layer = tt.Layer(nn.Linear(3, 2), tt.Mean(), rule=rule).double()
    xs = torch.randn(17, 4, 3, dtype=torch.float64)
    y = tt.scan(layer, xs, out="last")
    expected = layer.synapse(xs).mean(0)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    weight = torch.randn_like(y)
    found = torch.autograd.grad((y * weight).sum(), layer.synapse.weight)[0]
    torch.testing.assert_close(found, torch.autograd.grad((expected * weight).sum(), layer.synapse.weight)[0])
