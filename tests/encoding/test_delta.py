"""The level-crossing code follows the signal, and may be cut anywhere."""

from __future__ import annotations

import pytest
import torch

from tracetorch.encoding import DeltaModulation


def slow_signal(steps: int = 400) -> torch.Tensor:
    time = torch.arange(steps, dtype=torch.float64)
    return torch.stack([torch.sin(time / 30), 0.5 * torch.cos(time / 17)], dim=-1)


def test_the_spikes_rebuild_a_slow_signal_to_one_threshold() -> None:
    signal = slow_signal()
    spikes = DeltaModulation(0.05)(signal)
    rebuilt = signal[0] + 0.05 * (spikes[..., 0] - spikes[..., 1]).cumsum(0)
    assert spikes.shape == (400, 2, 2)
    assert (rebuilt - signal).abs().max() < 0.05 + 1e-9
    assert spikes.sum(-1).max() == 1


def test_cut_anywhere_it_is_the_same() -> None:
    signal = slow_signal()
    whole = DeltaModulation(0.1)(signal)
    code = DeltaModulation(0.1)
    parts = torch.cat([code(part) for part in signal.split([1, 50, 149, 200])])
    assert torch.equal(whole, parts)


def test_reset_takes_a_new_level() -> None:
    code = DeltaModulation(0.1)
    code(torch.tensor([0.0]))
    code.reset()
    assert code(torch.tensor([5.0])).sum() == 0


def test_thresholds_may_differ_per_channel() -> None:
    spikes = DeltaModulation(torch.tensor([0.1, 1.0]))(torch.tensor([[0.0, 0.0], [0.5, 0.5]]))
    assert spikes[1].tolist() == [[1.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("threshold", [0.0, -1.0])
def test_thresholds_are_positive(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold must be positive"):
        DeltaModulation(threshold)


@pytest.mark.parametrize("signal", [torch.zeros(0), torch.tensor(1.0), torch.tensor([1, 2])])
def test_signals_are_floating_point_with_a_time_axis(signal: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="floating point"):
        DeltaModulation(0.1)(signal)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_channel_that_begins_without_a_number_recovers(bad: float, steps: int) -> None:
    signal = slow_signal()
    begun = torch.cat([signal[:1].expand(steps, -1).clone(), signal])
    begun[:steps, 0] = bad
    spikes, expected = DeltaModulation(0.1)(begun), DeltaModulation(0.1)(signal)
    assert spikes[:steps].sum() == 0 and expected.sum() > 10
    assert torch.equal(spikes[steps:], expected)
    code = DeltaModulation(0.1)
    assert torch.equal(torch.cat([code(part) for part in begun.split(1)]), spikes)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_value_that_is_no_number_on_the_way_sends_nothing(bad: float) -> None:
    signal = slow_signal()
    gap = signal[:200].clone()
    gap[100, 1] = bad
    held = signal[:200].clone()
    held[100, 1] = held[99, 1]
    spikes, expected = DeltaModulation(0.1)(gap), DeltaModulation(0.1)(held)
    assert spikes[100, 1].sum() == 0 and torch.isfinite(spikes).all()
    assert torch.equal(spikes[:, 0], expected[:, 0]) and torch.equal(spikes[:100], expected[:100])
    late = slice(110, None)
    assert torch.equal(spikes[late], expected[late])


def test_another_shape_without_a_reset_is_refused() -> None:
    code = DeltaModulation(0.1)
    code(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"steps of shape \[5\], the calls before had \[2\]; call reset"):
        code(torch.zeros(3, 5))
