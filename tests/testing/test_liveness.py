"""Silent and saturated units are counted one by one; a layer's mean that looks well does not hide them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.testing import SilentError, calibrate, firing_rates, require_alive

XS = torch.ones(20, 2, 1)


def half_dead() -> nn.Sequential:
    """Units 0 and 1 fire in a third of the steps, 2 never, 3 always: a mean of 42 %."""
    synapse = nn.Linear(1, 4, bias=False)
    with torch.no_grad():
        synapse.weight.copy_(torch.tensor([[0.35], [0.35], [-1.0], [9.0]]))
    return nn.Sequential(tt.Layer(synapse, tt.IF()), tt.Layer(nn.Linear(4, 2), tt.LI(half_life=3)))


def test_units_are_counted_and_listed() -> None:
    firing = firing_rates(half_dead(), XS)
    assert list(firing) == ["0"]
    assert firing["0"].rates.tolist() == [0.3, 0.3, 0.0, 1.0]
    assert (firing["0"].silent, firing["0"].saturated, firing["0"].dead) == ((2,), (3,), 0.5)
    assert "1 of 4 units silent (2), 1 of 4 units saturated (3)" in str(firing["0"])


def test_a_good_mean_does_not_hide_dead_units() -> None:
    net = half_dead()
    assert 0.05 < firing_rates(net, XS)["0"].mean < 0.6
    with pytest.raises(SilentError, match=r"1 of 4 units silent \(2\), 1 of 4 units saturated \(3\)"):
        require_alive(net, XS)
    with pytest.raises(SilentError):
        require_alive(net, XS, dead=0.49)
    assert require_alive(net, XS, dead=0.5)["0"].dead == 0.5


def test_many_units_are_listed_in_short() -> None:
    net = tt.Layer(nn.Linear(1, 30), tt.LIF(half_life=2, threshold=1e6))
    assert "30 of 30 units silent (0, 1, 2, 3, 4, 5, 6, 7 and 22 more)" in str(firing_rates(net, XS)[""])


def test_calibrate_revives_units_one_by_one_and_leaves_the_rest_in_proportion() -> None:
    net = half_dead()
    before = net[0].synapse.weight.clone()
    firing = calibrate(net, XS)["0"]
    assert not firing.silent and not firing.saturated
    factor = net[0].synapse.weight / before
    assert factor[0] == factor[1] and factor[2] < 0 < factor[3]
    require_alive(net, XS)


@pytest.mark.parametrize("seed", range(3))
def test_calibrate_leaves_no_dead_unit_in_deep_networks(seed: int) -> None:
    torch.manual_seed(seed)
    sizes = (20, 64, 64, 64)
    hidden = [tt.Layer(nn.Linear(a, b), tt.LIF(half_life=5)) for a, b in pairwise(sizes)]
    net = nn.Sequential(*hidden, tt.Layer(nn.Linear(64, 2), tt.LI(half_life=5)))
    xs = (torch.rand(40, 4, 20) < 0.1).float()
    assert sum(len(f.silent) for f in firing_rates(net, xs).values()) > 60
    for firing in calibrate(net, xs).values():
        assert firing.dead == 0.0 and abs(firing.mean - 0.25) < 0.1


def test_a_unit_of_a_convolution_is_a_channel() -> None:
    synapse = nn.Conv1d(1, 3, 3, padding=1)
    with torch.no_grad():
        synapse.weight.fill_(1.0)
        synapse.bias.copy_(torch.tensor([0.0, -9.0, 0.0]))
    net = tt.Layer(synapse, tt.LIF(half_life=3))
    xs = torch.zeros(20, 2, 1, 6)
    xs[..., 2] = 0.6
    firing = firing_rates(net, xs)[""]
    assert firing.rates.shape == (3,) and firing.silent == (1,)
    assert calibrate(net, xs)[""].silent == ()


class Own(nn.Module):
    """A user's synapse; its weight has one row per unit, or one column."""

    def __init__(self, *, columns: bool) -> None:
        super().__init__()
        weight = torch.tensor([[0.3, 0.3], [-0.3, -0.1]])
        self.a = nn.Parameter(weight.T.clone() if columns else weight)
        self.columns = columns

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (self.a if self.columns else self.a.T)


def test_a_users_synapse_is_revived_by_rows_or_scaled_as_a_whole() -> None:
    net = tt.Layer(tt.LinearInWeights(Own(columns=False)), tt.IF())
    assert calibrate(net, torch.ones(40, 2, 2))[""].dead == 0.0
    net = tt.Layer(tt.LinearInWeights(Own(columns=True)), tt.IF())
    assert calibrate(net, torch.ones(40, 2, 2))[""].silent == (1,)
    ratio = net.synapse.module.a / Own(columns=True).a
    assert torch.allclose(ratio, ratio[0, 0].expand(2, 2))
