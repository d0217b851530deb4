"""What tasks on recordings of persons share: the file's recipe, and a split that leaves persons out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracetorch.data import DataNotFoundError, find_file, load_arrays

FOLDS = 5


def read_recordings(
    name: str, path: str | Path | None, keys: tuple[str, ...], *, recipe: str
) -> Mapping[str, npt.NDArray[np.generic]]:
    """Read a data file, or raise with the recipe that makes it.

    Args:
        name: The file's name.
        path: The file or its directory; None for the environment variable ``TRACETORCH_DATA``.
        keys: The arrays that are needed.
        recipe: Where the original comes from and how the file is made of it.

    Returns:
        The arrays by name.

    Raises:
        DataNotFoundError: The file is absent; the message ends with the recipe.
        ValueError: The file is not what it should be.
    """
    try:
        file = find_file(name, path)
    except DataNotFoundError as error:
        raise DataNotFoundError(f"{error}. To make {name}: {recipe}") from None
    return load_arrays(file, keys)


def held_out_persons(person: Tensor, fold: int) -> Tensor:
    """Return which recordings are of held-out persons: every fifth person, from number `fold` in rising order.

    Args:
        person: The person's number of each recording, ``[N]``.
        fold: 0 to 4.

    Returns:
        ``[N]``, bool; all recordings of a person have one value.

    Raises:
        ValueError: `fold` is out of range.

    Example:
        >>> import torch
        >>> held_out_persons(torch.tensor([7, 9, 7, 11]), 0).tolist()
        [True, False, True, False]
    """
    if not 0 <= fold < FOLDS:
        raise ValueError(f"fold is between 0 and {FOLDS - 1}, got {fold}")
    place: Tensor = torch.unique(person, return_inverse=True)[1]
    return place % FOLDS == fold
