"""What the benchmarks ran on."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

import torch


def describe(threads: int) -> dict[str, Any]:
    """Return the machine as far as the system tells.

    Args:
        threads: Threads of each row.

    Returns:
        Plain values by name: processor, cores, memory, GPU, system, load now, date.

    Example:
        >>> describe(1)["threads"]
        1
    """
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": memory_gb(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "load": load(),
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
    }


def processor() -> str:
    """Return the processor's name, with its instruction set where torch tells it."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def memory_gb() -> float | None:
    """Return the machine's memory in GB (10^9 bytes); None where the system does not tell."""
    if not hasattr(os, "sysconf"):
        return None
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (OSError, ValueError):
        return None


def load() -> float | None:
    """Return the mean number of running processes over the last minute; None where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
