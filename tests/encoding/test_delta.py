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
