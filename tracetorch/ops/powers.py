"""Powers of a small constant matrix: what a presynaptic trace needs to cross a window in one product."""

from __future__ import annotations

import torch
from torch import Tensor


def power_weights(transition: Tensor, drive: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    r"""Return the weights with which a window's inputs enter a presynaptic trace.

    .. math:: \hat E_T = \bar A^T \hat E_0 + \sum_t \bar A^{T-t} \bar B\, x_t

    Args:
        transition: `A`, `[S, S]`, constant and shared by all units.
        drive: `B`, `[S]`.
        steps: T, the window's length in steps.

    Returns:
        The weights `A^{T-t} B`, `[T, S]`, and `A^T`, `[S, S]`.
    """
    if steps == 1:
        return drive.unsqueeze(0), transition
    if transition.shape[0] == 1:
        exponents = torch.arange(steps - 1, -1, -1, device=drive.device, dtype=drive.dtype)
        return transition[0] ** exponents.unsqueeze(1) * drive, transition**steps
    rows = [drive]
    for _ in range(steps - 1):
        rows.append(transition @ rows[-1])
    return torch.stack(rows[::-1]), torch.linalg.matrix_power(transition, steps)
