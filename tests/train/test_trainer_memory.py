"""Memory figures."""

from __future__ import annotations

import math
import mmap

from tracetorch.train.memory import PeakMemory, peak_mb, resident_mb


def _hold(megabytes: int) -> None:
    """Touch new pages, one byte in each, and give them back.

    They come from the system itself: a process with a long past answers ``malloc`` from what it already holds, or
    does not, so no second buffer is filled beside them.
    """
    with mmap.mmap(-1, megabytes * 10**6) as pages:
        pages[:: mmap.PAGESIZE] = bytes(len(range(0, len(pages), mmap.PAGESIZE)))


def test_peak_is_at_least_what_is_held() -> None:
    assert 1.0 < resident_mb() <= peak_mb() * 1.01


def test_large_pages_are_seen_in_a_stretch_and_not_outside() -> None:
    meter = PeakMemory()
    assert math.isnan(meter.peak_mb)
    _hold(160)
    meter.resume()
    meter.pause()
    quiet = meter.peak_mb
    meter.resume()
    _hold(80)
    meter.pause()
    _hold(160)
    assert meter.peak_mb - quiet > 60.0
    assert meter.peak_mb - meter.start_mb < 140.0
