"""Code a value by how often it fires, or by a constant current."""

from __future__ import annotations

import torch
from torch import Tensor


def bernoulli(
    p: Tensor,
    *,
    steps: int,
    gain: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Draw independent spikes with the values as probabilities.

    .. math:: P(x_t = 1) = \text{gain} \cdot p

    Args:
        p: Probabilities in [0, 1], shape ``[*shape]``; unsigned bytes are read as ``p / 255``.
        steps: Number of time steps, T.
        gain: Factor on the probabilities, in (0, 1].
        generator: Source of the randomness, on the device of `p`; None takes torch's default one.

    Returns:
        Zeros and ones, ``[T, *shape]``, of the dtype of `p` (float32 for bytes).

    Raises:
        ValueError: `steps` is below 1, `gain` is outside (0, 1], or `p` leaves [0, 1].

    Example:
        >>> import torch
        >>> g = torch.Generator().manual_seed(0)
        >>> spikes = bernoulli(torch.tensor([0.0, 0.5, 1.0]), steps=1000, generator=g)
        >>> spikes.shape, bool(0.45 < spikes[:, 1].mean() < 0.55)
        (torch.Size([1000, 3]), True)
    """
    check_steps(steps)
    if not 0.0 < gain <= 1.0:
        raise ValueError(f"gain must be in (0, 1], got {gain}")
    p = probabilities(p)
    draws = torch.rand((steps, *p.shape), generator=generator, device=p.device, dtype=p.dtype)
    return (draws < gain * p).to(p.dtype)


def constant(values: Tensor, *, steps: int) -> Tensor:
    """Repeat the values at every time step, as a constant current.

    Args:
        values: Any tensor, ``[*shape]``.
        steps: Number of time steps, T.

    Returns:
        ``[T, *shape]``, a view without copies.

    Raises:
        ValueError: `steps` is below 1.

    Example:
        >>> import torch
        >>> constant(torch.tensor([1.0, 2.0]), steps=3).shape
        torch.Size([3, 2])
    """
    check_steps(steps)
    return values.expand(steps, *values.shape)


def probabilities(p: Tensor) -> Tensor:
    """Return `p` as floating point in [0, 1]: bytes are divided by 255, booleans become 0 and 1."""
    if p.dtype == torch.uint8:
        return p.to(torch.float32) / 255.0
    if p.dtype == torch.bool:
        return p.to(torch.float32)
    if not p.is_floating_point():
        raise ValueError(f"probabilities are floating point, bytes or booleans, got {p.dtype}: scale them first")
    if p.numel() and not bool(((p >= 0) & (p <= 1)).all()):
        raise ValueError(
            f"probabilities must be in [0, 1], got values from {float(p.min())} to {float(p.max())}: scale them first"
        )
    return p


def check_steps(steps: int) -> None:
    """Raise a ValueError unless `steps` is a positive number of time steps."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
