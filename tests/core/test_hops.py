"""Paths through dense recurrence, by hops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt

STEPS = 40


def network(size: float = 0.08) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    ring = nn.Linear(64, 64, bias=False)
    nn.init.normal_(ring.weight, std=size)
    hidden = tt.Layer(nn.Linear(12, 64), tt.LIF(half_life=6), recurrent=ring)
    net = nn.Sequential(hidden, tt.Layer(nn.Linear(64, 3), tt.LI(half_life=10))).double()
    xs = (torch.rand(STEPS, 4, 12) < 0.3).double()
    tt.init_firing(net, xs, rate=0.15)
    return net, xs


def gradients(net: nn.Sequential, xs: Tensor, rule: tt.Rule) -> tuple[Tensor, Tensor]:
    tt.set_rule(net, rule)
    tt.reset(net)
    net.zero_grad()
    tt.scan(net, xs, out="last").square().sum().backward()
    return net[0].synapse.weight.grad.flatten(), net[0].recurrent.weight.grad.flatten()


@pytest.mark.parametrize("make", [tt.rules.eprop, tt.rules.cascade], ids=lambda make: make.__name__)
def test_the_direction_comes_nearer_to_bptt_with_each_hop(make) -> None:
    net, xs = network()
    want = gradients(net, xs, tt.rules.bptt())
    found = [gradients(net, xs, make(hops=hops)) for hops in (0, 1, 3)]
    for i in range(2):
        cosines = [float(torch.cosine_similarity(got[i], want[i], 0)) for got in found]
        assert cosines == sorted(cosines), cosines
        assert cosines[-1] > cosines[0] + 0.01, cosines


def test_a_layer_without_recurrence_has_no_hops() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(tt.Layer(nn.Linear(5, 6), tt.LIF(half_life=4)), tt.Layer(nn.Linear(6, 2), tt.LI(half_life=4)))
    xs, found = 3 * torch.rand(9, 2, 5), []
    for rule in (tt.rules.cascade(), tt.rules.cascade(hops=3), tt.rules.eprop(), tt.rules.eprop(hops=3)):
        tt.set_rule(net, rule)
        tt.reset(net)
        net.zero_grad()
        tt.scan(net, xs).square().sum().backward()
        found.append(net[0].synapse.weight.grad.clone())
    for got in found[1:]:
        torch.testing.assert_close(got, found[0])


@pytest.mark.parametrize("make", [tt.rules.eprop, tt.rules.cascade], ids=lambda make: make.__name__)
@pytest.mark.parametrize("hops", [-1, 1.5, True, "two"])
def test_a_number_of_hops_that_is_none_is_refused(make, hops: object) -> None:
    with pytest.raises(ValueError, match="hops is a number"):
        make(hops=hops)
