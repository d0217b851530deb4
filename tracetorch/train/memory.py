"""How much memory this process holds, and held at most, without another package."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_MB = 1e6


def resident_mb() -> float:
    """Return the resident set size of this process now.

    Returns:
        Megabytes (10^6 bytes); NaN where the system does not say.

    Example:
        >>> resident_mb() > 1.0
        True
    """
    value = _from_status("VmRSS")
    if value is None:
        value = _from_ps()
    return math.nan if value is None else value


def peak_mb() -> float:
    """Return the largest resident set size of this process so far.

    On Linux this is the kernel's high-water mark of this very program; ``ru_maxrss`` would also count what the
    process that started it held. Elsewhere it is ``ru_maxrss``.

    Returns:
        Megabytes (10^6 bytes); NaN where the system does not say.

    Example:
        >>> peak_mb() >= 1.0
        True
    """
    value = _from_status("VmHWM")
    if value is not None:
        return value
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MB if sys.platform == "darwin" else peak * 1024 / _MB


class PeakMemory:
    """Peak memory of some parts of a program, without what lies between them.

    The parts are separated by resetting the kernel's high-water mark, which only Linux allows; elsewhere the
    peak of the whole process is given.

    Attributes:
        start_mb: Resident memory when the first part began; NaN before.

    Example:
        >>> meter = PeakMemory()
        >>> meter.resume()
        >>> meter.pause()
        >>> meter.peak_mb >= 1.0
        True
    """

    def __init__(self) -> None:
        self.start_mb = math.nan
        self._peak = math.nan
        self._running = False

    def resume(self) -> None:
        """Begin a part; nothing happens inside one."""
        if self._running:
            return
        self._running = True
        if math.isnan(self.start_mb):
            self.start_mb = resident_mb()
        try:
            _CLEAR.write_text("5")  # resets VmHWM to the present size
        except OSError:
            return

    def pause(self) -> None:
        """End a part; nothing happens outside one."""
        if self._running:
            self._peak = self.peak_mb
            self._running = False

    @property
    def peak_mb(self) -> float:
        """Return the peak of the parts so far in megabytes; NaN before the first or where it is unknown."""
        if not self._running:
            return self._peak
        now = peak_mb()
        return now if math.isnan(self._peak) else max(self._peak, now)


def _from_status(key: str) -> float | None:
    """Read a size in MB from Linux's account of this process; None elsewhere."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / _MB
    return None


def _from_ps() -> float | None:
    """Ask ``ps`` for the resident size in MB; None where there is no such program."""
    command = ["ps", "-o", "rss=", "-p", str(os.getpid())]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return int(answer) * 1024 / _MB
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
