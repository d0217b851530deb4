"""The numbers of a trace are computed once for many sequences, and again where what they depend on has changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.traces.base import Trace


def _net(decays: Tensor) -> nn.Sequential:
    torch.manual_seed(0)
    hidden = tt.Layer(nn.Linear(5, 9), tt.LIF(half_life=4.0))
    upper = tt.Layer(nn.Linear(9, 7), tt.LIF(half_life=decays.clone()))
    return nn.Sequential(hidden, upper, tt.Layer(nn.Linear(7, 2), tt.LI(half_life=3.0))).double()


def _gradients(net: nn.Module, batch: int = 3) -> list[Tensor]:
    tt.reset(net)
    net.zero_grad()
    torch.manual_seed(1)
    xs = torch.rand(12, batch, 5, dtype=torch.float64) * 3
    tt.scan(net, xs).pow(2).sum().backward()
    assert all(bool((layer.core.state.s[0] != 0).any()) for layer in tt.layers(net).values())
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


def _faster(net: nn.Module) -> None:
    net[1].neuron.decay.mul_(0.5)


def _grouped(net: nn.Module) -> None:
    net[1].neuron.decay.copy_(torch.linspace(0.5, 0.9, 7))


def _uncounted(net: nn.Module) -> None:
    net[1].neuron.decay.numpy()[:] = 0.4


def _lower(net: nn.Module) -> None:
    net[1].neuron.threshold.mul_(0.5)


def _hard(net: nn.Module) -> None:
    net[1].neuron.reset = tt.HardReset()


def _ruled(net: nn.Module) -> None:
    tt.set_rule(net, tt.rules.eprop())


CHANGES = [_faster, _grouped, _uncounted, _lower, _hard, _ruled]


@pytest.mark.parametrize("decays", [torch.full((7,), 6.0), torch.linspace(2, 9, 7)], ids=["alike", "own"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_sequence_after_a_change_is_that_of_a_network_that_ran_no_other(
    change: Callable[[nn.Module], None], decays: Tensor
) -> None:
    used, fresh = _net(decays), _net(decays)
    before = _gradients(used)
    for net in (used, fresh):
        with torch.no_grad():
            change(net)
        for layer in tt.layers(net).values():
            layer.core.activity.forget()  # what was measured may differ, and is not what is compared
    now, want = _gradients(used), _gradients(fresh)
    assert all(torch.equal(a, b) for a, b in zip(now, want, strict=True))
    assert any(not torch.allclose(a, b) for a, b in zip(now, before, strict=True))


def test_numbers_are_computed_once_for_sequences_of_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    net, calls = _net(torch.full((7,), 6.0)), []
    numbers = Trace.numbers
    monkeypatch.setattr(Trace, "numbers", lambda *args: calls.append(1) or numbers(*args))
    _gradients(net)
    first = len(calls)
    _gradients(net)
    assert len(calls) == first > 0
    tt.reset(net)
    tt.scan(net.float(), torch.rand(3, 2, 5))
    assert len(calls) > first
