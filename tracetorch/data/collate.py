"""Recordings of unequal length as one batch, time first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tracetorch.data.recordings import Recording


class RaggedBatch(NamedTuple):
    """A batch of recordings of unequal length.

    Args:
        xs: `[T, B, *shape]`, zero after a recording's end.
        lengths: `[B]`, int64, the number of steps of each.
        labels: `[B]`, int64.
        valid: `[T, B]`, bool, true inside a recording.

    Example:
        >>> import torch, tracetorch as tt
        >>> batch = tt.data.collate_ragged([(torch.ones(3, 2), 0), (torch.ones(1, 2), 1)])
        >>> net = tt.Layer(torch.nn.Linear(2, 4), tt.LIF(half_life=5))
        >>> tt.scan(net, batch.xs, out="last", lengths=batch.lengths).shape
        torch.Size([2, 4])
    """

    xs: Tensor
    lengths: Tensor
    labels: Tensor
    valid: Tensor


def collate_ragged(items: Sequence[tuple[Recording | Tensor, int]]) -> RaggedBatch:
    """Put recordings side by side, the shorter ones filled up with zeros; for `DataLoader(collate_fn=...)`.

    Args:
        items: recordings or tensors `[T_i, *shape]`, each with its label.

    Returns:
        The batch, of as many steps as the longest.

    Raises:
        ValueError: there is nothing, or the shapes of steps differ.

    Example:
        >>> import torch, tracetorch as tt
        >>> batch = tt.data.collate_ragged([(torch.ones(3, 2), 0), (torch.ones(1, 2), 1)])
        >>> batch.xs.shape, batch.lengths.tolist(), batch.valid[:, 1].tolist()
        (torch.Size([3, 2, 2]), [3, 1], [True, False, False])
    """
    if not items:
        raise ValueError("a batch needs at least one recording")
    tensors = [item if isinstance(item, Tensor) else item.window(0, item.steps) for item, _ in items]
    shapes = {tuple(x.shape[1:]) for x in tensors}
    if len(shapes) != 1:
        raise ValueError(f"all recordings of a batch must have steps of one shape, got {sorted(shapes)}")
    lengths = torch.tensor([len(x) for x in tensors])
    xs = tensors[0].new_zeros(int(lengths.max()), len(tensors), *tensors[0].shape[1:])
    for row, x in enumerate(tensors):
        xs[: len(x), row] = x
    labels = torch.tensor([int(label) for _, label in items])
    valid = torch.arange(len(xs)).unsqueeze(1) < lengths
    return RaggedBatch(xs, lengths, labels, valid)
