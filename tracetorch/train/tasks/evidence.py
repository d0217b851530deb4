"""Evidence accumulation of the e-prop paper: on which side were there more cues?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

import tracetorch as tt
from tracetorch.train.tasks.base import Batch, option
from tracetorch.train.tasks.drawn import DrawnTask, groups, unlabelled
from tracetorch.train.tasks.kinds import Count, Rate, Size, Span

LEFT, RIGHT, RECALL, NOISE = 0, 1, 2, 3
ODDS = 0.7


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence(DrawnTask):
    r"""Evidence accumulation: cues come from the left or the right, then a delay, then the decision.

    Each trial favours one side, from which each cue comes with probability 0.7; the label is the side with more cues.
    A cue makes the ten channels of its side fire, the recall signal ten others, and ten are noise. All times are in
    milliseconds and cut into steps of `dt`; rates are those of the paper, 40 Hz for cues and recall and 10 Hz for
    noise. Half of the recurrent units are adaptive (ALIF), half are LIF, with the paper's time constants (20 ms,
    2,000 ms) and threshold. An observer that counts the spikes of the two groups is right in nearly every trial; the
    paper's criterion is an error under 7 %.

    The preset ``published`` has the paper's steps of 1 ms, 2,250 to a trial.

    Source: G. Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking neurons" (2020),
    https://doi.org/10.1038/s41467-020-17236-y, after the experiment of A. S. Morcos, C. D. Harvey, "History-dependent
    variability in population dynamics during evidence accumulation in cortex" (2016),
    https://doi.org/10.1038/nn.4403.
    """

    name: ClassVar[str] = "evidence"
    summary: ClassVar[str] = "count left and right cues, wait, decide: the e-prop paper's task (no data needed)"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"published": {"dt": 1.0}}

    dt: Span = option(5.0, "length of a step, ms")
    cues: Size = option(7, "number of cues, odd")
    cue: Span = option(100.0, "length of a cue, ms")
    gap: Rate = option(50.0, "silence before each cue, ms")
    delay: Rate = option(1050.0, "from the last cue to the recall, ms")
    recall: Span = option(150.0, "length of the recall, ms")
    channels: Size = option(10, "channels of each of the four groups")
    membrane: Span = option(20.0, "time constant of the membranes and of the readout, ms")
    adaptation: Span = option(2000.0, "time constant of the adaptation, ms")
    recurrent: bool = option(True, "dense recurrent weights in the hidden layers")

    lr: Rate = option(5e-3, "highest learning rate (Adam)")
    trials: Size = option(500, "held-out trials")
    steps: Count = option(600, "number of training iterations")

    def __post_init__(self) -> None:
        """Check the options that have a choice or a range."""
        super().__post_init__()
        if self.cues % 2 == 0:
            raise ValueError(f"cues is an odd number, so that no trial is a tie, got {self.cues}")
        if min(self.cue, self.recall) < self.dt:
            raise ValueError(f"cue and recall last a step, {self.dt} ms, or longer, got {self.cue} and {self.recall}")

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of input channels and of classes."""
        return 4 * self.channels, 2

    def step(self, milliseconds: float) -> int:
        """Return the number of steps nearest to a time."""
        return round(milliseconds / self.dt)

    def network(self) -> nn.Module:
        """Build a recurrent layer, half LIF and half ALIF, and two leaky integrators, as in the paper."""
        inputs, classes = self.shape
        alpha, rho = (float(torch.tensor(-self.dt / tau).exp()) for tau in (self.membrane, self.adaptation))
        modules: list[nn.Module] = []
        for _ in range(self.hidden_layers):
            rise = torch.zeros(self.hidden)
            rise[self.hidden // 2 :] = 1.7 * (1.0 - rho) / (1.0 - alpha)
            neuron = tt.ALIF(
                beta=alpha,
                adaptation_beta=rho,
                adaptation=rise,
                threshold=0.6,
                surrogate=tt.surrogates.Triangle(0.3, 0.6),
                refractory=max(1, self.step(5.0)),
            )
            synapse = _normal(inputs, self.hidden)
            modules.append(tt.Layer(synapse, neuron, recurrent=_normal(self.hidden) if self.recurrent else None))
            inputs = self.hidden
        readout = nn.Linear(inputs, classes, bias=False)
        nn.init.xavier_uniform_(readout.weight)
        return nn.Sequential(*modules, tt.Layer(readout, tt.LI(beta=alpha)))

    def draw(self, size: int, source: torch.Generator) -> Batch:
        """Draw trials; ``extra["cues"]`` is the side of each cue, ``[B, cues]``. See `DrawnTask.draw`."""
        favoured = torch.rand(size, 1, generator=source) < 0.5
        agrees = torch.rand(size, self.cues, generator=source) < ODDS
        side = torch.where(agrees, favoured, ~favoured).long()
        period, recall = self.step(self.cue + self.gap), self.step(self.recall)
        steps = self.cues * period + self.step(self.delay) + recall
        active = torch.zeros(steps, size, 3, dtype=torch.bool)
        for number in range(self.cues):
            shown = slice(number * period + self.step(self.gap), (number + 1) * period)
            for which in (LEFT, RIGHT):
                active[shown, :, which] = side[:, number] == which
        active[-recall:, :, RECALL] = True
        chance = 0.04 * self.dt
        spikes = groups(active, self.channels, source, on=min(1.0, chance), off=0.0)
        noise = groups(active.new_ones(steps, size, 1), self.channels, source, on=min(1.0, chance / 4.0), off=0.0)
        y = unlabelled(steps, size)
        y[-recall:] = (side.sum(-1) > self.cues // 2).long()
        return Batch(torch.cat([spikes, noise], dim=-1), y, {"cues": side})


def _normal(inputs: int, units: int | None = None) -> nn.Linear:
    """Return normal weights of variance 1 / inputs; a square matrix without its diagonal where `units` is None."""
    synapse = nn.Linear(inputs, units or inputs, bias=False)
    with torch.no_grad():
        synapse.weight.normal_(std=inputs**-0.5)
        if units is None:
            synapse.weight.fill_diagonal_(0.0)
    return synapse
