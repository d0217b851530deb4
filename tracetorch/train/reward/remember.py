"""Memory that must be learned: a chain with distractors, and a T-maze."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

import tracetorch as tt
from tracetorch import rl
from tracetorch.rl.envs import Environment, MemoryChain, TMaze
from tracetorch.train.reward.base import RewardTask
from tracetorch.train.tasks.base import option
from tracetorch.train.tasks.kinds import Count, Probability, Rate, Size, Span


@dataclass(frozen=True, kw_only=True, eq=False)
class MemoryTask(RewardTask):
    """A task whose answer is a cue from its start, and a small layer whose time constants must grow for it.

    Hidden units are leaky averages with a time constant each, all starting at a share of the length; the policy's head
    and the value are linear in them, without memory. So `drtrl` is exact. Averages and not sums, so that a time
    constant that grows does not raise the output's scale with it.
    """

    length: Size = option(32, "steps between the cue and the question")
    hidden: Size = option(8, "hidden units")
    tau_share: Span = option(0.25, "first time constant, in units of the length")
    gamma: Probability = option(0.99, "discount per step")
    steps: Count = option(100_000, "steps of the environment")
    adam: Rate = option(5e-3, "learning rate of Adam along the trace; 0 for the bounded step")

    def senses(self) -> rl.Senses:
        """Take observations and rewards as they are: both are of unit scale."""
        return rl.Senses(rows=self.rows)

    def network(self) -> nn.Module:
        """Build leaky integrators with learned time constants under a linear readout."""
        tau = tt.Learnable(max(0.5, self.tau_share * self.length), shape=(self.hidden,))
        hidden = tt.Layer(nn.Linear(self.size, self.hidden), tt.LI(tau=tau, normalized=True))
        last = nn.Linear(self.hidden, self.policy().outputs + 1)
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.zero_()
        return nn.Sequential(hidden, last)

    def step(self, net: nn.Module) -> rl.Step:
        """Step by Adam along the trace, or bounded."""
        if not self.adam or self.control == "no-bound":
            return super().step(net)
        return rl.OptimizerStep(lambda parameters: torch.optim.Adam(parameters, lr=self.adam), net)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain(MemoryTask):
    """See a cue, then distractors; name the cue at the end: 1 if right, -1 if wrong."""

    name: ClassVar[str] = "memorychain"
    summary: ClassVar[str] = "remember a cue through distractors, from a reward at the end"
    goal: ClassVar[float] = 0.9
    presets = {"wide": {"hidden": 64, "tau_share": 4.0}}

    distractors: Count = option(2, "number of distractors")

    def environment(self, *, render: bool = False) -> Environment:
        """Make the chain."""
        return MemoryChain(self.length, distractors=self.distractors)

    @property
    def size(self) -> int:
        """Number of components of what is shown."""
        return 2 + self.distractors

    def policy(self) -> rl.Policy:
        """Name the cue."""
        return rl.Categorical(2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Maze(MemoryTask):
    """A corridor, at whose end to turn to the side that a sign at its start showed: 1 if right, 0 if wrong."""

    name: ClassVar[str] = "tmaze"
    summary: ClassVar[str] = "remember a sign through a corridor, then turn (T-maze)"
    goal: ClassVar[float] = 0.9

    length: Size = option(10, "steps from the start to the junction")
    gamma: Probability = option(0.95, "discount per step")

    def environment(self, *, render: bool = False) -> Environment:
        """Make the maze."""
        return TMaze(self.length)

    @property
    def size(self) -> int:
        """Number of components of what is shown."""
        return TMaze.size

    def policy(self) -> rl.Policy:
        """Go on, turn left or turn right."""
        return rl.Categorical(3)
