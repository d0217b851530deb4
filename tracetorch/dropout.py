"""Dropout with one mask for a whole sequence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tracetorch.modules import named_modules

DRAWN_AGAIN = -1.0
"""Stands in the mask for rows that are drawn again at the next forward."""


class SequenceDropout(nn.Module):
    r"""Dropout of the same units at all steps of a sequence, with a mask for each row of the batch.

    .. math:: y_t = \frac{m \odot x_t}{1 - p}, \qquad m \sim \mathrm{Bernoulli}(1 - p)

    The mask is drawn, in training, at the first step after `tt.reset`, which resets it by rows as it does layers;
    `resets` of a scan begin another one, and `tt.get_state` has it. A mask is a constant between the layers, so that
    every rule is as exact with it as without. Dropout that is drawn at each step is `nn.Dropout`.

    Source: Y. Gal, Z. Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks"
    (2016), https://arxiv.org/abs/1512.05287.

    Args:
        p: the probability that a unit is dropped, in [0, 1).

    Raises:
        ValueError: if `p` is out of range.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.SequenceDropout(0.5), tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5)))
        >>> _ = tt.scan(net, torch.ones(10, 4, 3))
        >>> net[0].mask.shape
        torch.Size([4, 3])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not isinstance(p, int | float) or not 0 <= p < 1:
            raise ValueError(f"p is a probability in [0, 1), got {p!r}")
        self.p = p
        self._mask: Tensor | None = None
        self._stale = False

    @property
    def mask(self) -> Tensor | None:
        """The mask, `[B, *in]`, scaled by 1 / (1 - p); None after a reset, negative in rows that were reset alone."""
        return self._mask

    @mask.setter
    def mask(self, value: Tensor | None) -> None:
        self._mask, self._stale = value, value is not None and bool((value < 0).any())

    def forward(self, x: Tensor) -> Tensor:
        """Drop units at one step.

        Args:
            x: input of one step, `[B, *in]`.

        Returns:
            The same with some units zero, and the others larger, `[B, *in]`.

        Raises:
            ValueError: if the batch or the units are others than those that the mask was drawn for.
        """
        return self.scan(x.unsqueeze(0))[0]

    def scan(self, xs: Tensor) -> Tensor:
        """Drop units at all steps of a window.

        Args:
            xs: inputs, `[T, B, *in]`.

        Returns:
            The same with some units zero, and the others larger, `[T, B, *in]`.
        """
        if not self.training or self.p == 0:
            return xs
        mask, shape = self._mask, xs.shape[1:]
        if mask is not None and mask.shape != shape:
            raise ValueError(
                f"the dropout's mask was drawn for {list(mask.shape)}, the input is {list(shape)}; call tt.reset(net)"
            )
        if mask is None or self._stale:
            dtype = xs.dtype if xs.is_floating_point() else torch.get_default_dtype()
            drawn = torch.empty(shape, dtype=dtype, device=xs.device).bernoulli_(1 - self.p).div_(1 - self.p)
            self._mask = mask = drawn if mask is None else torch.where(mask < 0, drawn, mask)
            self._stale = False
        return xs * mask

    def restart(self, rows: Tensor | None) -> None:
        """Draw another mask at the next step.

        Args:
            rows: `[B]`, true for the rows that get another mask; None for all.
        """
        if rows is None or self._mask is None:
            self.mask = None
            return
        if len(rows) != len(self._mask):
            raise ValueError(f"mask has {len(rows)} rows, the dropout's mask {len(self._mask)}")
        where = rows.to(self._mask.device).reshape(-1, *[1] * (self._mask.dim() - 1))
        self.mask = self._mask.masked_fill(where, DRAWN_AGAIN)

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> SequenceDropout:
        super()._apply(fn, recurse)
        if self._mask is not None:
            self._mask = fn(self._mask)
        return self

    def extra_repr(self) -> str:
        """Return what the representation shows."""
        return f"p={self.p}"


def dropouts(net: nn.Module) -> dict[str, SequenceDropout]:
    """Return the sequence dropouts of a network by module name."""
    return {name: module for module, name in named_modules(net).items() if isinstance(module, SequenceDropout)}
