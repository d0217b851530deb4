"""Synaptic operations are those that a loop over weights and inputs counts."""

import pytest
import torch
from torch import nn

import tracetorch as tt


def by_loops(x: torch.Tensor, weight: torch.Tensor) -> int:
    """The other account: each pair of an input and a weight, one by one."""
    return sum(int(x[j] != 0) * int(weight[i, j] != 0) for i in range(len(weight)) for j in range(len(x)))


def dense() -> nn.Module:
    torch.manual_seed(0)
    hidden = tt.Layer(nn.Linear(5, 7), tt.LIF(half_life=4), recurrent=nn.Linear(7, 7))
    net = nn.Sequential(hidden, tt.Layer(nn.Linear(7, 2), tt.LI(half_life=4)))
    net[0].synapse.weight.data.mul_(4)
    net[0].synapse.weight.data[2, 1:4] = 0
    return net


@pytest.mark.parametrize("way", ["scan", "steps", "last", "ragged"])
def test_dense_layers(way) -> None:
    net, xs = dense(), (torch.rand(9, 3, 5) < 0.4).float()
    lengths = [9, 4, 6] if way == "ragged" else [9, 9, 9]
    with torch.no_grad():
        spikes = tt.scan(net[:1], xs)
    tt.reset(net)
    with tt.count_operations(net) as counts:
        if way == "steps":
            for x in xs:
                net(x)
        else:
            given = {"lengths": lengths} if way == "ragged" else {}
            tt.scan(net, xs, "last" if way == "last" else "all", **given)
    net(xs[0, :3])  # after the block nothing is counted
    own, above = net[0], net[1].synapse.weight
    into = sum(by_loops(xs[t, b], own.synapse.weight) for b in range(3) for t in range(lengths[b]))
    back = sum(by_loops(spikes[t - 1, b], own.recurrent.weight) for b in range(3) for t in range(1, lengths[b]))
    up = sum(by_loops(spikes[t, b], above) for b in range(3) for t in range(lengths[b]))
    steps = sum(lengths)
    assert up > 0
    assert back > 0
    first, second = counts["0"], counts["1"]
    assert (first.effective, first.accumulates, first.multiplies) == (into + back, into + back, 0)
    assert (second.effective, second.dense, second.steps) == (up, steps * 14, steps)
    assert first.dense == steps * (35 + 49)
    assert first.connection_sparsity == pytest.approx(3 / 84)
    active = sum(int(spikes[: lengths[b], b].sum()) for b in range(3))
    assert first.activation_sparsity == pytest.approx(1 - active / (steps * 7))
    assert (first + second).effective == first.effective + second.effective


def test_a_convolution_counts_positions() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    net = nn.Sequential(tt.Layer(conv, tt.LIF(half_life=4)))
    conv.weight.data[0, 0, 1, 1] = 0
    xs = (torch.rand(4, 2, 2, 5, 5) < 0.3).float() * 0.5
    with tt.count_operations(net) as counts:
        tt.scan(net, xs)
    expected = dense = 0
    for x in xs.flatten(0, 1):
        there = nn.functional.pad((x != 0).float(), (1, 1, 1, 1))
        inside = nn.functional.pad(torch.ones_like(x), (1, 1, 1, 1))
        for o in range(3):
            for row in range(0, 5, 2):
                for column in range(0, 5, 2):
                    part = slice(None), slice(row, row + 3), slice(column, column + 3)
                    expected += int((there[part] * (conv.weight[o] != 0)).sum())
                    dense += int(inside[part].sum())
    assert counts["0"].multiplies == expected > 0
    assert counts["0"].accumulates == 0
    assert counts["0"].dense == dense
