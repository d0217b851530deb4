"""Show an image row by row in time."""

from __future__ import annotations

from torch import Tensor

from tracetorch.encoding.rate import check_steps


def rows(images: Tensor, *, repeat: int = 1) -> Tensor:
    """Turn the rows of an image into time steps: step ``t`` shows row ``t // repeat``.

    Args:
        images: ``[B, H, W]`` or ``[B, C, H, W]``, any dtype.
        repeat: Time steps that each row stays.

    Returns:
        ``[H * repeat, B, W]`` or ``[H * repeat, B, C * W]``, time first.

    Raises:
        ValueError: `images` has another number of dimensions, or `repeat` is below 1.

    Example:
        >>> import torch
        >>> rows(torch.zeros(5, 8, 6)).shape, rows(torch.zeros(5, 3, 8, 6), repeat=2).shape
        (torch.Size([8, 5, 6]), torch.Size([16, 5, 18]))
    """
    check_steps(repeat)
    if images.dim() == 3:
        sequence = images.permute(1, 0, 2)
    elif images.dim() == 4:
        sequence = images.permute(2, 0, 1, 3).flatten(2)
    else:
        raise ValueError(f"images are [B, H, W] or [B, C, H, W], got shape {tuple(images.shape)}")
    return sequence.repeat_interleave(repeat, dim=0)
