"""Seeds and generators that depend on what their numbers are for, and the order of examples by them."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import Tensor


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


def examples(seed: int, iteration: int, *, size: int, batch_size: int) -> Tensor:
    """Return the indices of one iteration's examples: epochs of whole batches, each in its own random order.

    The rest of an epoch that fills no batch is left out of that epoch.

    >>> import torch
    >>> epoch = [examples(0, i, size=10, batch_size=5) for i in range(2)]
    >>> torch.cat(epoch).sort().values.tolist() == list(range(10))
    True
    """
    if not 0 < batch_size <= size:
        raise ValueError(f"a batch has between 1 and {size} examples, got {batch_size}")
    epoch, place = divmod(iteration, size // batch_size)
    return _order(seed, epoch, size)[place * batch_size : (place + 1) * batch_size]


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, size: int) -> Tensor:
    return torch.randperm(size, generator=generator(seed, "order", epoch))
