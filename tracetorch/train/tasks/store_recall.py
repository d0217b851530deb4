"""Store and recall: store a bit at one command, return it at another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tracetorch.train.tasks.base import Batch, option
from tracetorch.train.tasks.classification import UNLABELLED
from tracetorch.train.tasks.drawn import StackedTask, groups, unlabelled
from tracetorch.train.tasks.kinds import Pair, Probability, Size, Span

STORE, RECALL = 2, 3


@dataclass(frozen=True, kw_only=True, eq=False)
class StoreRecall(StackedTask):
    """Store-recall: a stream of random bits, of which the one under a store command is asked for later.

    Time is cut into tokens of `token_steps` steps. In each token one of two groups of channels shows a bit; a third
    group fires with the store command, a fourth with the recall command, and then no bit is shown. The answer at a
    recall is the bit of the last store. The first token is a store and the last a recall; between them each command
    that may come (store after recall, recall after store) comes with probability `command`. Every recall is scored at
    its last step. An error under 5 % is the paper's criterion.

    Source: G. Bellec, D. Salaj, A. Subramoney, R. Legenstein, W. Maass, "Long short-term memory and
    learning-to-learn in networks of spiking neurons" (2018), https://arxiv.org/abs/1803.09574.
    """

    name: ClassVar[str] = "store-recall"
    summary: ClassVar[str] = "keep the bit shown with a command through others, answer at another (no data needed)"

    tokens: Pair = option(8, "tokens in a sequence")
    token_steps: Size = option(10, "time steps of a token")
    command: Probability = option(0.3, "probability of a command in a token where one may come")
    channels: Size = option(10, "channels of each of the four groups")
    on: Probability = option(0.5, "probability that a channel of an active group fires in a step")
    off: Probability = option(0.02, "the same of a group that is not active")

    half_life: Span = option(40.0, "half-life of the hidden neurons, steps")

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of input channels and of classes."""
        return 4 * self.channels, 2

    def draw(self, size: int, source: torch.Generator) -> Batch:
        """Draw sequences; ``extra["bits"]`` and ``extra["commands"]`` are ``[B, tokens]``. See `DrawnTask.draw`."""
        bits = torch.randint(0, 2, (size, self.tokens), generator=source)
        comes = torch.rand(size, self.tokens, generator=source) < self.command
        commands = torch.zeros(size, self.tokens, dtype=torch.long)
        answers = torch.full((size, self.tokens), UNLABELLED)
        stored, full = bits[:, 0], torch.ones(size, dtype=torch.bool)
        commands[:, 0] = STORE
        for token in range(1, self.tokens):
            last = token == self.tokens - 1
            store = ~full & comes[:, token] & (not last)
            recall = comes[:, token] & full | last
            stored = torch.where(store, bits[:, token], stored)
            commands[:, token] = STORE * store + RECALL * recall
            answers[:, token] = torch.where(recall, stored, UNLABELLED)
            full = full & ~recall | store
        shown = torch.stack([bits == 0, bits == 1, commands == STORE, commands == RECALL], dim=-1)
        shown[..., :2] &= (commands != RECALL).unsqueeze(-1)
        active = shown.transpose(0, 1).repeat_interleave(self.token_steps, dim=0)
        x = groups(active, self.channels, source, on=self.on, off=self.off)
        y = answers.T.repeat_interleave(self.token_steps, dim=0)
        return Batch(x, y, {"bits": bits, "commands": commands})

    def scored(self, y: Tensor) -> Tensor:
        """Return the targets of the last step of each recall, ``[T, B]``."""
        counted = unlabelled(*y.shape)
        ends = slice(self.token_steps - 1, None, self.token_steps)
        counted[ends] = y[ends]
        return counted
