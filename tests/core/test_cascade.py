"""Cascade credit beyond the table: storage, mean responses of neurons that move as they spike, refusals."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from core import chains
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.traces.pairs import merged

STEPS = 40
NEURONS: dict[str, Callable[[], tt.Neuron]] = {
    "hard reset": lambda: tt.LIF(half_life=6, reset=tt.HardReset()),
    "reset with its gradient": lambda: tt.LIF(half_life=6, reset=tt.SoftReset(gradient=True)),
    "adaptive": lambda: tt.ALIF(half_life=6, adaptation_half_life=20),
}


def network(neuron: Callable[[], tt.Neuron], depth: int, rule: tt.rules.Rule) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    sizes = [12, *[16] * depth]
    hidden = [tt.Layer(nn.Linear(a, b), neuron()) for a, b in pairwise(sizes)]
    net = nn.Sequential(*hidden, tt.Layer(nn.Linear(16, 3), tt.LI(half_life=10))).double()
    xs = (torch.rand(STEPS, 4, 12) < 0.4).double()
    tt.init_firing(net, xs, rate=0.15)
    tt.set_rule(net, rule)
    return net, xs


def gradients(net: nn.Sequential, xs: Tensor, splits: list[int], *, sequences: int = 1) -> list[Tensor]:
    return list(chains.gradients(net, xs, splits, sequences=sequences).values())


def cosines(got: list[Tensor], want: list[Tensor]) -> list[float]:
    pairs = ((a, b) for a, b in zip(got, want, strict=True) if a.dim() == 2)
    return [float(torch.cosine_similarity(a.flatten(), b.flatten(), 0)) for a, b in pairs]


@pytest.mark.parametrize("name", NEURONS)
def test_steps_are_a_scan_also_after_the_mean_response_was_measured(name: str) -> None:
    found = []
    for splits in ([STEPS], [0] * STEPS, [7, 0, 0, 13, STEPS - 22]):
        net, xs = network(NEURONS[name], 2, tt.rules.cascade())
        found.append(gradients(net, xs, splits, sequences=3))
        assert net[1].core.activity.blocks is not None
    for got in found[1:]:
        for a, b in zip(got, found[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NEURONS)
def test_the_direction_at_depth_is_near_that_of_bptt_where_instantaneous_credit_is_not(name: str) -> None:
    want = gradients(*network(NEURONS[name], 3, tt.rules.bptt()), [STEPS])
    for rule, sequences in ((tt.rules.cascade(), 2), (tt.rules.cascade(pairs=STEPS), 2)):
        lowest = cosines(gradients(*network(NEURONS[name], 3, rule), [STEPS], sequences=sequences), want)[0]
        assert lowest > 0.95, rule
    for rule in (tt.rules.eprop(), tt.rules.sltt()):
        assert cosines(gradients(*network(NEURONS[name], 3, rule), [STEPS]), want)[0] < lowest - 0.02, rule


def test_what_was_measured_is_saved_with_the_state() -> None:
    net, xs = network(NEURONS["hard reset"], 2, tt.rules.cascade())
    gradients(net, xs, [STEPS], sequences=2)
    tt.scan(net, xs[:9]).sum().backward()
    twin, _ = network(NEURONS["hard reset"], 2, tt.rules.cascade())
    tt.set_state(twin, tt.get_state(net))
    for one in (net, twin):
        one.zero_grad()
        tt.scan(one, xs[9:]).square().sum().backward()
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_pairs_come_nearer_to_the_full_eligibility_with_their_number() -> None:
    full = gradients(*network(lambda: tt.LIF(half_life=6), 2, tt.rules.cascade()), [0] * STEPS)
    errors = []
    for pairs in (1, 4, 12, STEPS):
        got = gradients(*network(lambda: tt.LIF(half_life=6), 2, tt.rules.cascade(pairs=pairs)), [0] * STEPS)
        errors.append(float((got[0] - full[0]).norm() / full[0].norm()))
    assert errors == sorted(errors, reverse=True) and errors[0] > 1e-3 and errors[-1] < 1e-12


def test_pairs_carry_no_more_than_their_number() -> None:
    net, xs = network(lambda: tt.LIF(half_life=6), 2, tt.rules.cascade(pairs=5))
    gradients(net, xs, [0] * STEPS)
    state = tt.get_state(net)
    assert state["0/traces.other.pairs.h"].shape[0] == 5
    assert int(state["0/traces.other.pairs.length"].sum()) == STEPS


def test_an_exponential_histogram_grows_coarser_with_age() -> None:
    lengths = [1]
    for _ in range(499):
        groups = merged([*lengths, 1], 10)
        lengths = [sum([*lengths, 1][i] for i in group) for group in groups]
    assert sum(lengths) == 500 and len(lengths) == 10
    assert lengths[-1] <= 2 and lengths[0] >= 64 and lengths == sorted(lengths, reverse=True)


def wide(rule: tt.rules.Rule, inputs: int = 30, units: int = 40) -> nn.Sequential:
    """A hidden layer whose full eligibility behind the readout takes `inputs * units` numbers per row."""
    hidden = tt.Layer(nn.Linear(inputs, units), tt.LIF(half_life=6))
    net = nn.Sequential(hidden, tt.Layer(nn.Linear(units, 3), tt.LI(half_life=10))).double()
    tt.set_rule(net, rule)
    return net


@pytest.mark.parametrize(("budget", "storage", "same"), [(1200, "full", None), (1199, r"pairs\(10\)", 10)])
def test_auto_takes_pairs_where_a_full_eligibility_passes_the_budget(
    budget: int, storage: str, same: int | None
) -> None:
    torch.manual_seed(0)
    xs = (torch.rand(STEPS, 4, 30) < 0.4).double()
    found = []
    for rule in (tt.rules.cascade(budget=budget), tt.rules.cascade(pairs=same)):
        torch.manual_seed(1)
        net = wide(rule)
        tt.init_firing(net, xs, rate=0.15)
        tt.set_rule(net, rule)
        found.append(gradients(net, xs, [0] * STEPS))
    assert all(torch.equal(a, b) for a, b in list(zip(*found, strict=True))[:2])  # the hidden layer
    one = wide(tt.rules.cascade(budget=budget))
    assert "storage=auto\n" in repr(one)
    for batch in (1, 50):  # the choice is by shapes, not by rows
        tt.reset(one)
        tt.scan(one, torch.rand(3, batch, 30).double()).sum().backward()
        assert re.search(rf"storage=auto: {storage}\n", repr(one[0]))
        assert "storage=auto: full\n" in repr(one[1])


def test_auto_counts_a_convolution_by_its_positions() -> None:
    layer = tt.Layer(nn.Conv1d(2, 4, 3), tt.LIF(half_life=6))
    for budget, storage in ((4 * 2 * 3 * 8, "full"), (4 * 2 * 3 * 8 - 1, "pairs(10)")):
        net = nn.Sequential(layer, nn.Flatten(), tt.Layer(nn.Linear(32, 3), tt.LI(half_life=10)))
        tt.set_rule(net, tt.rules.cascade(budget=budget))
        tt.reset(net)
        tt.scan(net, torch.rand(3, 2, 2, 10))
        assert f"storage=auto: {storage}\n" in repr(net[0])


@pytest.mark.parametrize(("saved", "into"), [(None, 5), (5, None), (5, 4), ("auto", 5)])
def test_a_state_of_another_storage_is_refused(saved: int | str | None, into: int | str | None) -> None:
    net, twin = (wide(tt.rules.cascade(pairs=pairs)) for pairs in (saved, into))
    tt.scan(net, torch.rand(9, 2, 30).double()).sum().backward()
    with pytest.raises(ValueError, match="stores"):
        tt.set_state(twin, tt.get_state(net))
    tt.set_state(net, tt.get_state(net))


@pytest.mark.parametrize("budget", [-1, 2.5, True, "many"])
def test_a_budget_that_is_no_number_is_refused(budget: object) -> None:
    with pytest.raises(ValueError, match="budget is"):
        tt.rules.cascade(budget=budget)  # type: ignore[arg-type]


@pytest.mark.parametrize("pairs", [0, -1, 2.5, True, "ten"])
def test_a_number_of_pairs_that_is_none_is_refused(pairs: object) -> None:
    with pytest.raises(ValueError, match="pairs is a number"):
        tt.rules.cascade(pairs=pairs)  # type: ignore[arg-type]
