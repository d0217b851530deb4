"""The rule that is suggested: the cheapest that is good enough, the same each time, within a budget."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.testing import calibrate

LOSS = nn.functional.cross_entropy


def problem(depth: int) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    hidden = [tt.Layer(nn.Linear(8 if i == 0 else 12, 12), tt.LIF(half_life=6)) for i in range(depth)]
    net = nn.Sequential(*hidden, tt.Layer(nn.Linear(12, 3), tt.LI(half_life=6)))
    xs = (torch.rand(20, 4, 8) < 0.3).float()
    calibrate(net, xs)
    return net, (xs, torch.tensor([0, 1, 2, 0]))


def test_the_cheapest_of_the_good_ones_is_suggested_each_time() -> None:
    net, batch = problem(2)
    before = [p.clone() for p in net.parameters()]
    found = tt.rules.suggest(net, batch, LOSS, within=0.05)
    cosines = {n: rows["0"][0].cosine for n, rows in found.audit.agreements.items()}
    sizes = {n: costs[0].peak_bytes for n, costs in found.audit.costs.items()}
    best = max(cosines.values())
    good = [n for n, c in cosines.items() if c >= best - 0.05]
    assert found.name in good and sizes[found.name] == min(sizes[n] for n in good)
    assert "bptt" not in cosines and cosines["sltt"] < best - 0.05, "a cheaper rule that is not good enough"
    assert found.rule == tt.rules.PRESETS[found.name]()
    again = tt.rules.suggest(net, batch, LOSS, within=0.05)
    assert (again.name, again.reasons) == (found.name, found.reasons)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
    assert found.name in str(found) and "sltt" in str(found)
    tt.set_rule(net, found.rule)


def test_a_wider_distance_and_a_budget_give_a_cheaper_rule() -> None:
    net, batch = problem(1)
    found = tt.rules.suggest(net, batch, LOSS, within=0.01)
    sizes = {n: costs[0].peak_bytes for n, costs in found.audit.costs.items()}
    wide = tt.rules.suggest(net, batch, LOSS, within=2.0)
    assert sizes[wide.name] == min(sizes.values()) < sizes[found.name]
    tight = tt.rules.suggest(net, batch, LOSS, within=0.01, budget=sizes[found.name] - 1)
    assert sizes[tight.name] < sizes[found.name] and "over the budget" in str(tight)
    with pytest.raises(ValueError, match="within budget=1 bytes"):
        tt.rules.suggest(net, batch, LOSS, budget=1)
    with pytest.raises(ValueError, match=r"in \[0, 2\], got -1"):
        tt.rules.suggest(net, batch, LOSS, within=-1)
