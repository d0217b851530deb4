"""Dropout with one mask for a sequence: the same units at all its steps, others after a reset, by rows."""

import pytest
import torch
from torch import nn

import tracetorch as tt

T, B = 12, 4


def make(rule: str = "drtrl", p: float = 0.4) -> nn.Module:
    torch.manual_seed(0)
    hidden = tt.Layer(nn.Linear(5, 20), tt.LIF(half_life=4))
    net = nn.Sequential(hidden, tt.SequenceDropout(p), tt.Layer(nn.Linear(20, 2), tt.LI(half_life=5))).double()
    net[0].synapse.weight.data.mul_(4)
    tt.set_rule(net, tt.rules.PRESETS[rule]())
    return net


def inputs() -> torch.Tensor:
    torch.manual_seed(1)
    return (torch.rand(T, B, 5) < 0.5).double()


def masked(net: nn.Module, mask: torch.Tensor) -> nn.Module:
    """The other account: the same network with the mask in the weights of the layer above, for one row alone."""
    plain = nn.Sequential(net[0].tied(), tt.Layer(nn.Linear(20, 2), tt.LI(half_life=5), rule=net[2].rule).double())
    plain[1].synapse.weight.data = net[2].synapse.weight.data * mask
    plain[1].synapse.bias.data = net[2].synapse.bias.data.clone()
    return plain


@pytest.mark.parametrize("way", ["scan", "steps", "last", "ragged"])
def test_a_row_is_a_network_without_the_dropped_units(way) -> None:
    net, xs, lengths = make(), inputs(), [12, 5, 9, 5]
    if way == "steps":
        rows = []
        for x in xs:
            rows.append(net(x))
            rows[-1].sum().backward()
        ys = torch.stack(rows).detach()
    elif way == "last":
        ys = tt.scan(net, xs, "last")
    else:
        ys = tt.scan(net, xs, **({"lengths": lengths} if way == "ragged" else {}))
    if way != "steps":
        ys.sum().backward()
    mask = net[1].mask
    assert set(mask.unique().tolist()) == {0.0, 1 / 0.6}
    assert not torch.equal(mask[0], mask[1])
    total = 0
    grad = net[0].synapse.weight.grad.clone()
    for row, length in enumerate(lengths if way == "ragged" else [T] * B):
        net.zero_grad()
        one = masked(net, mask[row])
        alone = tt.scan(one, xs[:length, row : row + 1], "last" if way == "last" else "all")
        alone.sum().backward()
        total = total + one[0].synapse.weight.grad
        found, expected = (ys[row], alone[0]) if way == "last" else (ys[:length, row], alone[:, 0])
        assert torch.allclose(found, expected)
    assert torch.allclose(grad, total, atol=1e-12)
    assert float(grad.abs().max()) > 0


def test_a_mask_stays_until_its_row_is_reset() -> None:
    net, xs = make(), inputs()
    tt.scan(net, xs)
    first = net[1].mask
    net(xs[0])
    assert net[1].mask is first
    tt.reset(net, torch.tensor([True, False, False, True]))
    tt.scan(net, xs)
    second = net[1].mask
    assert torch.equal(second[1:3], first[1:3])
    assert not torch.equal(second[0], first[0])
    assert float(second.min()) == 0
    saved = tt.get_state(net)
    tt.reset(net)
    assert net[1].mask is None
    tt.scan(net, xs[:, :2])  # another batch
    tt.set_state(net, saved)
    assert torch.equal(net[1].mask, second)


def test_resets_in_a_scan_draw_other_masks() -> None:
    net, xs = make(), inputs()
    tt.scan(net, xs)
    first = net[1].mask
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[4, 1] = True
    tt.scan(net, xs, resets=resets)
    assert torch.equal(net[1].mask[[0, 2, 3]], first[[0, 2, 3]])
    assert not torch.equal(net[1].mask[1], first[1])
    tt.scan(net, xs, lengths=[T, 0, 3, 0])
    assert torch.equal(net[1].mask[[0, 2, 3]], first[[0, 2, 3]])
    tt.reset(net)
    tt.scan(net, xs, lengths=[T, 0, 3, 0])
    assert (net[1].mask[[1, 3]] < 0).all()
    net(xs[0])
    assert (net[1].mask >= 0).all()


def test_a_scan_that_fails_leaves_no_mask() -> None:
    net, xs = make(), inputs()
    bad = torch.cat([xs, xs], 1)
    net[2].synapse.weight.data = torch.zeros(2, 19, dtype=torch.float64)
    with pytest.raises((RuntimeError, ValueError)):
        tt.scan(net, bad)
    with pytest.raises((RuntimeError, ValueError)):
        tt.scan(net, bad, lengths=[12, 3, 4, 5] * 2)
    net[2].synapse.weight.data = torch.zeros(2, 20, dtype=torch.float64)
    assert net[1].mask is None
    assert tt.scan(net, xs).shape == (T, B, 2)


def test_evaluation_drops_nothing() -> None:
    net, xs = make().eval(), inputs()
    expected = tt.scan(nn.Sequential(net[0].tied(), net[2].tied()), xs)
    assert torch.allclose(tt.scan(net, xs), expected)
    assert net[1].mask is None


def test_the_share_of_dropped_units() -> None:
    dropout = tt.SequenceDropout(0.3)
    ys = tt.scan(nn.Sequential(dropout), torch.ones(2, 100, 100))
    assert abs(float((ys == 0).double().mean()) - 0.3) < 0.02
    assert torch.equal(ys[0], ys[1])


@pytest.mark.parametrize("p", [-0.1, 1, float("nan"), "0.5"])
def test_no_other_probability(p) -> None:
    with pytest.raises(ValueError, match="probability"):
        tt.SequenceDropout(p)


def test_another_batch_needs_a_reset() -> None:
    net, xs = nn.Sequential(tt.SequenceDropout(0.5)), inputs()
    tt.scan(net, xs)
    with pytest.raises(ValueError, match="drawn for"):
        tt.scan(net, xs[:, :2])
