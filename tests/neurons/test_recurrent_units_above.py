"""Recurrent units above other layers under `cascade`, beyond the table: branches, streams, rows, what is refused."""

from __future__ import annotations

import pytest
import torch
from core import chains
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.testing import agreement, bptt, rule_gradients

STEPS, EACH = 12, tt.rules.cascade(buckets=8)


class Residual(nn.Module):
    """Add to a block's input what it gives, which no scan runs layer by layer."""

    def __init__(self, *block: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*block)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


def lru(inputs: int, units: int) -> tt.Layer:
    return tt.Layer(nn.Linear(inputs, 2 * units), tt.LRU(units))


def inputs() -> Tensor:
    return torch.randn(STEPS, 3, 9, generator=torch.Generator().manual_seed(1)).double()


def loss(ys: Tensor, steps: slice) -> Tensor:
    weights = torch.linspace(-1, 1, STEPS, dtype=ys.dtype)[steps].reshape(-1, *[1] * (ys.dim() - 1))
    return (weights * ys + 0.1 * ys**2).sum()


def network(*middle: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(lru(9, 6), *middle, nn.Linear(6, 2)).double()


def errors(net: nn.Module, rule: tt.Rule, splits: list[int]) -> list[float]:
    want = bptt(net, inputs(), loss)
    got = rule_gradients(net, inputs(), loss, rule, splits=splits)
    return [agreement(got.grads[name], grad).relative_error for name, grad in want.grads.items()]


def test_residual_stacks_are_bptt_in_one_scan_from_the_first_sequence_on() -> None:
    net = network(Residual(lru(6, 6), nn.GELU()), Residual(lru(6, 5), nn.Linear(5, 6)))
    for _ in range(2):
        assert max(errors(net, tt.rules.cascade(), [STEPS])) < 1e-10


def test_residual_stacks_are_bptt_in_windows_with_a_filter_for_each_pole() -> None:
    net = network(Residual(lru(6, 6)), Residual(lru(6, 5), nn.Linear(5, 6)))
    for splits in ([0] * STEPS, [5, 0, 6]):
        errors(net, EACH, splits)  # the first sequence shows which layers feed which
        assert max(errors(net, EACH, splits)) < 1e-10


def test_a_layer_that_feeds_a_readout_and_recurrent_units_has_a_filter_for_each() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = tt.Layer(nn.Linear(6, 6), tt.LI(half_life=4))
            self.other = lru(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.one(x) + self.other(x)

    net = network(Both())
    for splits in ([STEPS], [0] * STEPS, [5, 0, 6]):
        errors(net, EACH, splits)
        assert max(errors(net, EACH, splits)) < 1e-10


def test_a_module_before_the_first_layer_learns_as_by_bptt_in_one_scan() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(9, 9), nn.Tanh(), lru(9, 6), lru(6, 6), nn.Linear(6, 2)).double()
    assert max(errors(net, tt.rules.cascade(), [STEPS])) < 1e-10
    assert max(errors(net, tt.rules.cascade(), [STEPS])) < 1e-10


@pytest.mark.parametrize("splits", [[0] * STEPS, [5, 0, 6]])
def test_rows_that_are_reset_are_sequences_of_their_own(splits: list[int]) -> None:
    net, xs, mask = network(lru(6, 6)), inputs(), torch.tensor([True, False, True])
    tt.set_rule(net, EACH)
    at = 5
    got = rule_gradients(net, xs, loss, splits=splits, resets={at: mask})
    total: dict[str, Tensor] = {}
    for row, cut in enumerate(mask.tolist()):
        for part in [slice(0, at), slice(at, STEPS)] if cut else [slice(0, STEPS)]:

            def own(ys: Tensor, steps: slice, part: slice = part) -> Tensor:
                return loss(ys, slice(part.start + steps.start, part.start + steps.stop))

            found = bptt(net, xs[part, row : row + 1], own)
            for name, grad in found.grads.items():
                total[name] = total.get(name, torch.zeros_like(grad)) + grad
    assert all(agreement(got.grads[name], grad).relative_error < 1e-10 for name, grad in total.items())


def test_a_stream_goes_on_from_its_saved_state() -> None:
    xs, one = inputs(), network(lru(6, 6))
    tt.set_rule(one, EACH)
    tt.reset(one)
    tt.scan(one, xs[:5]).sum().backward()
    twin = network(lru(6, 6))
    tt.set_rule(twin, EACH)
    tt.reset(twin)
    tt.set_state(twin, tt.get_state(one))
    for net in (one, twin):
        net.zero_grad()
        tt.scan(net, xs[5:]).square().sum().backward()
    for a, b in zip(one.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("neuron", [tt.RTU(6), tt.MinGRU(), tt.LRU(6)])
def test_a_window_after_another_is_refused_without_filters_and_a_new_sequence_is_not(neuron: tt.Neuron) -> None:
    net, xs = network(tt.Layer(nn.Linear(6, 12), neuron)), inputs()
    tt.reset(net)
    tt.scan(net, xs[:6]).sum().backward()
    with pytest.raises(RuntimeError, match="whole sequence"):
        tt.scan(net, xs[6:])
    with torch.no_grad():
        tt.scan(net, xs[6:])
    tt.reset(net)
    tt.scan(net, xs).sum().backward()
    tt.reset(net)
    net(xs[0]).sum().backward()
    with pytest.raises(RuntimeError, match="whole sequence"):
        net(xs[1])


def test_layers_that_send_credit_as_of_now_are_no_filters_and_refuse_nothing() -> None:
    net = network(lru(6, 6))
    net[1].set_rule(tt.rules.drtrl())
    tt.reset(net)
    grads = chains.gradients(net, inputs(), [0] * STEPS)
    tt.set_rule(net, tt.rules.drtrl())
    want = chains.gradients(net, inputs(), [0] * STEPS)
    assert all(torch.allclose(grads[name], want[name], rtol=1e-10, atol=1e-14) for name in want)


def test_spiking_layers_below_are_not_run_by_compiled_steps() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(tt.Layer(nn.Linear(9, 6), tt.LIF(half_life=4)), lru(6, 6), nn.Linear(6, 2))
    tt.reset(net)
    net(inputs()[0].float()).sum().backward()
    with pytest.raises(RuntimeError, match="whole sequence"):
        net(inputs()[1].float())
