"""Shapes that happen to run are noticed where they can be, and time never mixes with another dimension."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.folding import foldable


def around(module: nn.Module, inputs: int = 6, outputs: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    first = tt.Layer(nn.Linear(6, inputs), tt.LI(half_life=4))
    return nn.Sequential(first, module, tt.Layer(nn.Linear(outputs, 2), tt.LI(half_life=6))).double()


MODULES = {
    "softmax over the batch": (nn.Softmax(dim=-2), 2),
    "softmax over the batch, from the front": (nn.Softmax(dim=0), 2),
    "softmax over units": (nn.Softmax(dim=-1), 2),
    "softmax over units, from the front": (nn.Softmax(dim=1), 2),
    "softmax without a dimension": (nn.Softmax(), 2),
    "softmax without a dimension over positions": (nn.Softmax(), 3),
    "log softmax over positions": (nn.LogSoftmax(dim=-2), 3),
    "log softmax over the batch": (nn.LogSoftmax(dim=-3), 3),
    "softmin over the batch": (nn.Softmin(dim=-2), 2),
    "padding of the batch": (nn.ConstantPad2d((0, 0, 1, 1), 0.5), 2),
    "padding of units": (nn.ConstantPad1d((1, -1), 0.5), 2),
    "norm over the batch": (nn.LayerNorm((4, 6)), 2),
    "norm over units": (nn.LayerNorm(6), 2),
    "root mean square over the batch": (nn.RMSNorm((4, 6)), 2),
    "convolution whose channels are the batch": (nn.Conv1d(4, 4, 3, padding=1), 2),
    "pooling whose channels are the batch": (nn.AvgPool1d(3, 1, 1), 2),
    "gate over the batch": (nn.GLU(dim=-2), 2),
    "flattening": (nn.Flatten(-1), 2),
}


@pytest.mark.parametrize("out", ["all", "last"])
@pytest.mark.parametrize("case", MODULES)
@pytest.mark.filterwarnings("ignore:Implicit dimension choice", "ignore:a layer was given")
def test_a_scan_is_its_steps_whatever_dimension_a_module_works_on(case: str, out: str) -> None:
    module, dims = MODULES[case]
    shape = (5, 4, 6) if dims == 2 else (5, 4, 3, 6)
    xs = torch.rand(shape, dtype=torch.float64)
    if case == "padding of the batch":  # the batch grows by two rows: what follows has its own state
        net: nn.Module = nn.Sequential(module, tt.Layer(nn.Linear(6, 2), tt.LI(half_life=6))).double()
    else:
        net = around(module)
    tt.set_rule(net, tt.rules.sltt())
    steps = torch.stack([net(x) for x in xs])
    tt.reset(net)
    whole = tt.scan(net, xs, out)  # type: ignore[arg-type]
    torch.testing.assert_close(whole, steps if out == "all" else steps[-1])


def test_what_folds_and_what_does_not() -> None:
    assert foldable(nn.Softmax(dim=-1)) and foldable(nn.Softmax(dim=1)) and foldable(nn.Softmax(dim=-2), 3)
    assert not foldable(nn.Softmax(dim=-2)) and not foldable(nn.Softmax(dim=-2), 2) and not foldable(nn.Softmax())
    assert foldable(nn.Softmax(), 2) and not foldable(nn.Softmax(), 3)
    assert not foldable(nn.Softmax2d(), 3) and foldable(nn.Softmax2d(), 4) and not foldable(nn.Softmax2d())
    assert foldable(nn.ReLU()) and foldable(nn.Dropout()) and not foldable(nn.BatchNorm1d(3))


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("size", [5, 128])
def test_a_window_in_the_place_of_a_step_is_refused_by_the_state(size: int, backend: str) -> None:
    if tt.available_backends()[backend]:
        pytest.skip(tt.available_backends()[backend])
    net = nn.Sequential(tt.Layer(nn.Linear(64, size), tt.LIF(half_life=4)))
    tt.set_backend(net, backend)
    for _ in range(2):
        net(torch.rand(3, 64)).sum().backward()
    before = tt.get_state(net)
    for wrong in (torch.rand(3, 3, 64), torch.rand(7, 3, 64)):
        with pytest.raises(ValueError, match=r"tt\.scan|the state 3"):
            net(wrong)
    with pytest.raises(ValueError, match=r"tt\.scan"):
        tt.scan(net, torch.rand(5, 3, 3, 64))
    with pytest.raises(ValueError, match="batch has 5 rows, the state 3"):
        tt.scan(net, torch.rand(3, 5, 64))  # [batch, time, ...]
    assert all(torch.equal(v, before[k]) for k, v in tt.get_state(net).items())


def test_a_window_as_the_first_step_warns_once() -> None:
    layer = tt.Layer(nn.Linear(6, 5), tt.LIF(half_life=4))
    with pytest.warns(UserWarning, match=r"batch of 7 with 3 positions.*tt\.scan"):
        layer(torch.rand(7, 3, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(torch.rand(7, 3, 6))
        tt.reset(layer)
        layer(torch.rand(7, 3, 6))
        tt.scan(tt.Layer(nn.Linear(6, 5), tt.LIF(half_life=4)), torch.rand(2, 7, 3, 6))
