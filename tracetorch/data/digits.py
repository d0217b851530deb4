"""The 8 x 8 digits that scikit-learn brings along."""

from __future__ import annotations

import torch

from tracetorch.data.images import Images
from tracetorch.ops.require import require


def digits(*, test: int = 360, seed: int = 0) -> Images:
    """Read scikit-learn's 1,797 digits of 8 x 8 pixels, scaled from 0..16 to bytes, and split them at random.

    Args:
        test: Number of images in the test part.
        seed: Seed of the split.

    Returns:
        The images as uint8 (0..255), with the labels.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: `test` leaves nothing to train or to test on.

    Source: "Optical Recognition of Handwritten Digits", E. Alpaydin, C. Kaynak, 1998, https://doi.org/10.24432/C50P49

    Example:
        >>> import tracetorch as tt
        >>> images = tt.data.digits(test=300)
        >>> images.x_train.shape, images.x_train.dtype, len(images.y_test)
        (torch.Size([1497, 8, 8]), torch.uint8, 300)
    """
    data = require("sklearn.datasets", "scikit-learn").load_digits()
    x = torch.from_numpy((data.images * (255.0 / 16.0)).round()).to(torch.uint8)
    y = torch.from_numpy(data.target).to(torch.int64)
    if not 0 < test < len(x):
        raise ValueError(f"test is between 1 and {len(x) - 1} images, got {test}")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    x, y = x[order], y[order]
    return Images(x[test:], y[test:], x[:test], y[:test])
