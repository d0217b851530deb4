"""Which examples an iteration sees, as a function of the seed and the iteration alone."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from tracetorch.train.tasks.seeds import generator


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
