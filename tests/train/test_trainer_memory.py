"""Memory figures."""

from __future__ import annotations

import math

import torch

from tracetorch.train.memory import PeakMemory, peak_mb, resident_mb


def test_peak_is_at_least_what_is_held() -> None:
    assert 1.0 < resident_mb() <= peak_mb() * 1.01


def test_a_large_tensor_is_seen_in_a_stretch_and_not_outside() -> None:
    meter = PeakMemory()
    assert math.isnan(meter.peak_mb)
    outside = torch.ones(40_000_000)
    del outside
    meter.resume()
    meter.pause()
    quiet = meter.peak_mb
    meter.resume()
    inside = torch.ones(20_000_000)  # 80 MB
    del inside
    meter.pause()
    later = torch.ones(40_000_000)
    del later
    assert meter.peak_mb - quiet > 60.0
    assert meter.peak_mb - meter.start_mb < 140.0
