"""What tasks on recordings of persons share: a split that leaves persons out."""

from __future__ import annotations

import torch
from torch import Tensor

FOLDS = 5


def held_out_persons(person: Tensor, fold: int) -> Tensor:
    """Return which recordings are of held-out persons: every fifth person, from number `fold` in rising order.

    >>> import torch
    >>> held_out_persons(torch.tensor([7, 9, 7, 11]), 0).tolist()
    [True, False, True, False]
    """
    if not 0 <= fold < FOLDS:
        raise ValueError(f"fold is between 0 and {FOLDS - 1}, got {fold}")
    place: Tensor = torch.unique(person, return_inverse=True)[1]
    return place % FOLDS == fold
