"""Delayed match to sample: is the second stimulus the one that was shown before the delay?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tracetorch.train.tasks.base import Batch, option
from tracetorch.train.tasks.drawn import StackedTask, groups, unlabelled
from tracetorch.train.tasks.kinds import Count, Pair, Probability, Size, Span


@dataclass(frozen=True, kw_only=True, eq=False)
class DelayedMatch(StackedTask):
    """Delayed match to sample: a stimulus, a delay, a second stimulus; are they the same?

    Each stimulus makes a group of channels of its own fire. The answer is due while the second one is shown, and is
    scored at its last step. Half of the trials match; neither stimulus alone says anything of the answer.

    Source: J. M. Fuster, G. E. Alexander, "Neuron Activity Related to Short-Term Memory" (1971),
    https://doi.org/10.1126/science.173.3997.652, for the delayed response; as a test of online rules in C. Wang et al.,
    "Model-agnostic linear-memory online learning in spiking neural networks" (2026),
    https://doi.org/10.1038/s41467-026-68453-w.
    """

    name: ClassVar[str] = "match"
    summary: ClassVar[str] = "is the second stimulus that from before the delay? (no data needed)"

    stimuli: Pair = option(4, "number of different stimuli")
    cue_steps: Size = option(10, "time steps of a stimulus")
    delay: Count = option(30, "time steps between the two")
    channels: Size = option(10, "channels of each stimulus")
    on: Probability = option(0.5, "probability that a channel of an active group fires in a step")
    off: Probability = option(0.02, "the same of a group that is not active")

    half_life: Span = option(30.0, "half-life of the hidden neurons, steps")

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of input channels and of classes."""
        return self.stimuli * self.channels, 2

    def draw(self, size: int, source: torch.Generator) -> Batch:
        """Draw sequences; ``extra["stimuli"]`` is ``[B, 2]``. See `DrawnTask.draw`."""
        first = torch.randint(0, self.stimuli, (size,), generator=source)
        other = torch.randint(1, self.stimuli, (size,), generator=source)
        same = torch.rand(size, generator=source) < 0.5
        shown: Tensor = torch.stack([first, torch.where(same, first, (first + other) % self.stimuli)], 1)
        steps = 2 * self.cue_steps + self.delay
        active = torch.zeros(steps, size, self.stimuli, dtype=torch.bool)
        rows = torch.arange(size)
        active[: self.cue_steps, rows, shown[:, 0]] = True
        active[-self.cue_steps :, rows, shown[:, 1]] = True
        y = unlabelled(steps, size)
        y[-self.cue_steps :] = same.long()
        x = groups(active, self.channels, source, on=self.on, off=self.off)
        return Batch(x, y, {"stimuli": shown})
