"""Exclusive or of two bits that are shown one after the other, with a delay before, between and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from tracetorch.train.tasks.base import Batch, option
from tracetorch.train.tasks.drawn import StackedTask, groups, unlabelled
from tracetorch.train.tasks.kinds import Count, Probability, Size

GO = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class DelayedXOR(StackedTask):
    """Delayed XOR: two bits, a delay after each, then a cue at which their exclusive or is due.

    A bit makes one of two groups of channels fire for `cue_steps` steps; a third group fires at the end, for as long,
    and asks for the answer. Neither bit alone says anything of the label, and no sum of the two does, so a readout of
    untrained units gains little and the memory of the first bit must meet the second in a unit that is not linear.

    Source: the order of two stimuli as a test of credit through time is that of S. Hochreiter, J. Schmidhuber, "Long
    Short-Term Memory" (1997), https://doi.org/10.1162/neco.1997.9.8.1735 (its temporal order task).
    """

    name: ClassVar[str] = "delayed-xor"
    summary: ClassVar[str] = "the exclusive or of two bits with delays between them (no data needed)"

    cue_steps: Size = option(5, "time steps of a bit, and of the cue")
    delay: Count = option(15, "time steps from the first bit to the second, and from the second to the cue")
    channels: Size = option(10, "channels of each of the three groups")
    on: Probability = option(0.6, "probability that a channel of an active group fires in a step")
    off: Probability = option(0.02, "the same of a group that is not active")

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of input channels and of classes."""
        return 3 * self.channels, 2

    def draw(self, size: int, source: torch.Generator) -> Batch:
        """Draw sequences; ``extra["bits"]`` is ``[B, 2]``. See `DrawnTask.draw`."""
        bits = torch.randint(0, 2, (size, 2), generator=source)
        period = self.cue_steps + self.delay
        steps = 2 * period + self.cue_steps
        active = torch.zeros(steps, size, 3, dtype=torch.bool)
        for place in (0, 1):
            shown = slice(place * period, place * period + self.cue_steps)
            for value in (0, 1):
                active[shown, :, value] = bits[:, place] == value
        active[-self.cue_steps :, :, GO] = True
        y = unlabelled(steps, size)
        y[-self.cue_steps :] = bits[:, 0] ^ bits[:, 1]
        return Batch(groups(active, self.channels, source, on=self.on, off=self.off), y, {"bits": bits})
