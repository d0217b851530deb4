"""Seeds and generators that depend on what their numbers are for."""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, *names: int | str) -> int:
    """Return a seed that depends on every argument and on nothing else: 63 bits of a SHA-256.

    >>> derived_seed(0, "batch", 1) == derived_seed(0, "batch", 11)
    False
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *names: int | str) -> torch.Generator:
    """Return a CPU generator seeded by `derived_seed`."""
    return torch.Generator().manual_seed(derived_seed(seed, *names))
