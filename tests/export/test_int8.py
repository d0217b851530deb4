"""Weights of eight bits against a rounding written out by hand, and the count of what changes."""

import pytest
import torch
from export.networks import make
from torch import nn

import tracetorch as tt


@torch.no_grad()
def round_by_hand(net):
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            for row in module.weight:  # one output channel
                scale = float(row.abs().max()) / 127
                row.copy_((row / scale).round() * scale)


@pytest.mark.parametrize("name", ["dense", "recurrent", "convolutional"])
def test_eight_bits_equal_a_network_of_rounded_weights(name):
    net, xs = make(name)
    small = tt.export.int8(tt.export.step(net))
    exact = tt.export.step(net)
    round_by_hand(net)
    rounded = tt.export.step(net)
    found = tt.export.difference(rounded, small, xs)
    assert found.outputs < 1e-5
    assert max(found.spikes.values()) == 0
    assert tt.export.difference(exact, rounded, xs).outputs > 1e-3  # the control


def test_the_difference_counts_what_changes():
    net, xs = make("dense")
    module = tt.export.step(net)
    assert tt.export.difference(module, module, xs).outputs == 0
    with torch.no_grad():
        net[1].synapse.weight[:] = 0
        net[1].synapse.bias[:] = 0
    silent = tt.export.step(net)
    found = tt.export.difference(module, silent, xs)
    net, _ = make("dense")
    with torch.no_grad():
        z = torch.stack([net[:2](x) for x in xs])
    assert found.spikes == pytest.approx({"0": 0.0, "1": float(z.mean())})
    assert found.spikes["1"] > 0.01
    assert 0 < found.decisions <= 1
    assert found.outputs > 0


def test_windows_and_steps_have_one_difference():
    net, xs = make("recurrent", steps=8)
    step, window = tt.export.step(net), tt.export.window(net, 8)
    assert tt.export.difference(step, tt.export.int8(window), xs) == tt.export.difference(
        step, tt.export.int8(step), xs
    )
    with pytest.raises(ValueError, match="other layers"):
        tt.export.difference(step, tt.export.step(make("branched")[0]), xs)


def test_a_network_without_such_weights_raises():
    with pytest.raises(ValueError, match=r"no nn\.Linear"):
        tt.export.int8(tt.export.step(tt.Layer(nn.ConvTranspose1d(2, 2, 3), tt.LI(half_life=3))))
