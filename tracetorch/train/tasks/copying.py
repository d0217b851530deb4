"""The copy task: repeat a sequence of symbols after a delay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from tracetorch.train.tasks.base import Batch, option
from tracetorch.train.tasks.drawn import StackedTask, groups, unlabelled
from tracetorch.train.tasks.kinds import Count, OneOf, Pair, Probability, Rate, Size, Span


@dataclass(frozen=True, kw_only=True, eq=False)
class Copy(StackedTask):
    """Copying: symbols are shown one after the other, then a delay, then they are due in the same order.

    Each symbol makes its own group of channels fire for `symbol_steps` steps. After the delay one more group fires
    until the end, and in each period of `symbol_steps` steps the next symbol is due. There is an answer at every one
    of these steps, so the loss cannot be at the last alone. A symbol is scored at the last step of its period. Without
    memory one answer in `symbols` is right.

    Source: A. Graves, G. Wayne, I. Danihelka, "Neural Turing Machines" (2014), https://arxiv.org/abs/1410.5401; with a
    delay, M. Arjovsky, A. Shah, Y. Bengio, "Unitary Evolution Recurrent Neural Networks" (2016),
    https://arxiv.org/abs/1511.06464.
    """

    name: ClassVar[str] = "copy"
    summary: ClassVar[str] = "repeat a sequence of symbols after a delay (no data needed)"

    symbols: Pair = option(4, "number of different symbols")
    length: Size = option(4, "symbols in a sequence")
    symbol_steps: Size = option(4, "time steps of a symbol")
    delay: Count = option(8, "time steps between the last symbol and the first answer")
    channels: Size = option(8, "channels of each group: one group per symbol, one for the recall")
    on: Probability = option(0.9, "probability that a channel of an active group fires in a step")
    off: Probability = option(0.0, "the same of a group that is not active")

    hidden: Size = option(200, "neurons in each hidden layer")
    readout_half_life: Span = option(2.0, "half-life of the readout, steps")
    lr: Rate = option(3e-3, "highest learning rate (Adam)")
    loss: Annotated[str, OneOf("every")] = option(
        "every", "where the loss is: at 'every' step at which an answer is due"
    )

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of input channels and of classes."""
        return (self.symbols + 1) * self.channels, self.symbols

    def draw(self, size: int, source: torch.Generator) -> Batch:
        """Draw sequences; ``extra["symbols"]`` is ``[B, length]``. See `DrawnTask.draw`."""
        drawn = torch.randint(0, self.symbols, (size, self.length), generator=source)
        each = drawn.T.repeat_interleave(self.symbol_steps, dim=0)
        shown = len(each)
        steps = 2 * shown + self.delay
        active = torch.zeros(steps, size, self.symbols + 1, dtype=torch.bool)
        active[:shown].scatter_(-1, each.unsqueeze(-1), True)
        active[-shown:, :, -1] = True
        y = unlabelled(steps, size)
        y[-shown:] = each
        return Batch(groups(active, self.channels, source, on=self.on, off=self.off), y, {"symbols": drawn})

    def scored(self, y: Tensor) -> Tensor:
        """Return the targets of the last step of each symbol's period, ``[T, B]``."""
        counted = unlabelled(*y.shape)
        first = len(y) - self.length * self.symbol_steps + self.symbol_steps - 1
        ends = slice(first, None, self.symbol_steps)
        counted[ends] = y[ends]
        return counted
