"""Networks whose forward takes and returns tuples and dictionaries, under scans."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

import tracetorch as tt

T, B = 11, 3


class Senses(NamedTuple):
    seen: torch.Tensor
    heard: torch.Tensor


class Both(nn.Module):
    """Two inputs, two outputs; the forms are what the test gives and what it asks for."""

    def __init__(self, form: str, rule: tt.Rule | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form = form
        self.eye = tt.Layer(nn.Linear(4, 6), tt.LIF(half_life=4), rule=tt.rules.drtrl())
        self.ear = tt.Layer(nn.Linear(3, 6), tt.LIF(half_life=4), rule=tt.rules.drtrl())
        self.out = tt.Layer(nn.Linear(6, 2), tt.LI(half_life=4), rule=tt.rules.drtrl())
        self.double()
        for layer in (self.eye, self.ear):
            layer.synapse.weight.data.mul_(4)
        if rule is not None:
            tt.set_rule(self, rule)

    def forward(self, x):
        seen, heard = (x["seen"], x["heard"]) if self.form == "dict" else x
        spikes = self.eye(seen) + self.ear(heard)
        y = self.out(spikes)
        return {"spikes": spikes, "y": y} if self.form == "dict" else (spikes, [y])


def inputs(form: str):
    torch.manual_seed(1)
    seen, heard = (torch.rand(T, B, 4) < 0.5).double(), (torch.rand(T, B, 3) < 0.5).double()
    return {"dict": {"seen": seen, "heard": heard}, "tuple": (seen, heard), "named": Senses(seen, heard)}[form]


def at(xs, form: str, t: int, row: slice = slice(None)):
    if form == "dict":
        return {name: x[t, row] for name, x in xs.items()}
    values = [x[t, row] for x in xs]
    return Senses(*values) if form == "named" else tuple(values)


def parts(ys, form: str):
    return (ys["spikes"], ys["y"]) if form == "dict" else (ys[0], ys[1][0])


@pytest.mark.parametrize("rule", ["drtrl", "cascade"])
@pytest.mark.parametrize("form", ["dict", "tuple", "named"])
def test_a_scan_is_its_single_steps(form, rule) -> None:
    chosen = tt.rules.PRESETS[rule]()
    xs, net, other = inputs(form), Both(form, chosen), Both(form, chosen)
    spikes, y = parts(tt.scan(net, xs), form)
    (spikes.sum() + y.square().sum()).backward()
    rows = []
    for t in range(T):
        one = parts(other(at(xs, form, t)), form)
        (one[0].sum() + one[1].square().sum()).backward()
        rows.append(one)
    assert torch.allclose(spikes, torch.stack([r[0] for r in rows]))
    assert torch.allclose(y, torch.stack([r[1] for r in rows]))
    assert float(spikes.sum()) > 0
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-10)
    tt.reset(net)
    last = parts(tt.scan(net, xs, "last"), form)
    assert torch.allclose(last[1], y[-1])


@pytest.mark.parametrize("form", ["dict", "tuple", "named"])
def test_rows_of_unequal_length(form) -> None:
    xs, net, lengths = inputs(form), Both(form), [11, 4, 7]
    spikes, y = parts(tt.scan(net, xs, lengths=lengths), form)
    for row, length in enumerate(lengths):
        one = Both(form)
        for t in range(length):
            alone = parts(one(at(xs, form, t, slice(row, row + 1))), form)
            assert torch.allclose(spikes[t, row], alone[0][0])
            assert torch.allclose(y[t, row], alone[1][0])
        assert not y[length:, row].any()


def test_the_batch_first_and_behind_a_sequence() -> None:
    xs = inputs("dict")
    net = nn.Sequential(Both("dict"), Taken("y"))
    expected = tt.scan(net, xs)
    tt.reset(net)
    turned = {name: x.transpose(0, 1) for name, x in xs.items()}
    assert torch.equal(tt.scan(net, turned, batch_first=True), expected.transpose(0, 1))


class Taken(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x):
        return x[self.name]


def test_values_that_do_not_fit_together_are_refused() -> None:
    net = Both("tuple")
    with pytest.raises(ValueError, match="same steps and rows"):
        tt.scan(net, (torch.rand(T, B, 4), torch.rand(T + 1, B, 3)))
    with pytest.raises(TypeError, match="a window is a tensor"):
        tt.scan(net, (torch.rand(T, B, 4), [1, 2]))
    with pytest.raises(TypeError, match="a window is a tensor"):
        tt.scan(net, ())
