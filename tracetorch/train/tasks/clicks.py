"""Poisson clicks: on which side were there more, four seconds ago?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch.train.tasks.base import Batch, Outcome, option
from tracetorch.train.tasks.classification import ClassificationTask, classified, record
from tracetorch.train.tasks.kinds import Count, OneOf, Probability, Rate, Size, Span
from tracetorch.train.tasks.observer import IdealObserver
from tracetorch.train.tasks.seeds import generator

LEFT, RIGHT = 0, 1
HARD = 0.1
EVALUATION_BATCH = 500


@dataclass(frozen=True, kw_only=True, eq=False)
class Clicks(ClassificationTask):
    r"""The Poisson clicks task: count two streams of clicks, wait, answer.

    Each trial draws a contrast :math:`c` uniformly from [-1, 1]. While the clicks last, the left side clicks
    in a frame with probability :math:`1 - \exp(-\text{rate}\,(1 + c) / 2\,\text{fps})`, the right side
    likewise with :math:`-c`. Each of a side's channels fires in a frame with probability `noise`, and with
    probability `signal` besides where its side clicks. Silence (noise alone) follows; then a cue channel
    fires for the recall. The label is the side with more clicks; a trial with equally many is drawn again.
    The network sees the channels only, as does the ideal observer (`IdealObserver`), whose accuracy on the
    same trials is the yardstick.

    The preset ``hard`` tests learning: every half-life starts at 10 steps, an eighth of the silence, and is
    learned, one per hidden neuron.

    Source: "Rats and humans can optimally accumulate evidence for decision-making", B. W. Brunton, M. M. Botvinick, C.
    D. Brody, 2013, https://doi.org/10.1126/science.1233912
    """

    name: ClassVar[str] = "clicks"
    summary: ClassVar[str] = "count left and right clicks, wait 4 s, say which were more (no data needed)"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "hard": {"half_life": 10.0, "readout_half_life": 10.0, "learned": True},
    }

    fps: Size = option(20, "frames (time steps) a second")
    click_seconds: Span = option(5.0, "how long the clicks last, s")
    silence_seconds: Rate = option(4.0, "how long the silence lasts, s")
    recall_seconds: Span = option(1.0, "how long the recall cue lasts, s")
    channels: Size = option(10, "input channels a side")
    noise: Probability = option(0.05, "probability that a channel fires by itself in a frame")
    signal: Probability = option(0.9, "probability that a click makes a channel of its side fire")
    rate: Span = option(20.0, "clicks a second, both sides together")
    trials: Size = option(4000, "held-out trials")

    hidden: Size = option(64, "hidden neurons")
    half_life: Span = option(200.0, "half-life of the hidden neurons, steps (the first one where it is learned)")
    readout_half_life: Span = option(500.0, "half-life of the readout, steps (the first one where it is learned)")
    learned: bool = option(False, "learn the half-lives: one per hidden neuron, one of the readout")

    lr: Rate = option(5e-3, "highest learning rate of the synapses (Adam)")
    neuron_lr: Rate = option(3e-2, "highest learning rate of the learned half-lives, on their raw scale")
    steps: Count = option(1000, "number of training iterations")
    batch_size: Size = option(64, "trials in a batch")
    loss: Annotated[str, OneOf("last", "recall")] = option(
        "last", "where the loss is: at the 'last' step, or over the 'recall' second"
    )

    def __post_init__(self) -> None:
        """Check the options that have a choice or a range."""
        super().__post_init__()
        if min(self.click_frames, self.recall_frames) < 1:
            raise ValueError("clicks and recall last at least one frame")

    @property
    def click_frames(self) -> int:
        """Return the number of frames with clicks."""
        return round(self.click_seconds * self.fps)

    @property
    def silence_frames(self) -> int:
        """Return the number of frames of silence."""
        return round(self.silence_seconds * self.fps)

    @property
    def recall_frames(self) -> int:
        """Return the number of frames with the cue."""
        return round(self.recall_seconds * self.fps)

    @property
    def observer(self) -> IdealObserver:
        """Return the ideal observer of these trials."""
        return IdealObserver(
            channels=self.channels,
            noise=self.noise,
            fires=self.fires,
            clicks_per_frame=self.rate / self.fps,
        )

    @property
    def fires(self) -> float:
        """Return the probability that a channel fires in a frame in which its side clicks."""
        return 1.0 - (1.0 - self.signal) * (1.0 - self.noise)

    def network(self) -> nn.Module:
        """Build 21 inputs, one hidden layer of LIF neurons, two leaky integrators."""
        hidden: Any = self.half_life
        readout: Any = self.readout_half_life
        if self.learned:
            hidden, readout = tt.Learnable(hidden, shape=(self.hidden,)), tt.Learnable(readout)
        return nn.Sequential(
            tt.Layer(nn.Linear(2 * self.channels + 1, self.hidden), tt.LIF(half_life=hidden)),
            tt.Layer(nn.Linear(self.hidden, 2), tt.LI(half_life=readout)),
        )

    def batch(self, iteration: int) -> Batch:
        """Draw the trials of `iteration`."""
        return self.draw(self.batch_size, generator(self.seed, "clicks", iteration))

    def draw(self, size: int, source: torch.Generator) -> Batch:
        """Draw trials; see `DrawnTask.draw`.

        The channels are ``[T, B, 2 * channels + 1]`` (left, right, cue), the labels ``[B]`` (0 left, 1 right), and in
        ``extra`` the numbers of clicks are ``counts``, ``[B, 2]``.
        """
        clicks = torch.empty(self.click_frames, size, 2, dtype=torch.bool)
        redraw = torch.arange(size)
        while len(redraw):
            contrast = 2.0 * torch.rand(len(redraw), generator=source) - 1.0
            share = torch.stack([1.0 + contrast, 1.0 - contrast], dim=-1) / 2.0
            chance = -torch.expm1(-self.rate / self.fps * share)
            draws = torch.rand(self.click_frames, len(redraw), 2, generator=source)
            clicks[:, redraw] = draws < chance
            counts = clicks.sum(0)
            redraw = (counts[:, LEFT] == counts[:, RIGHT]).nonzero().flatten()
        steps = self.click_frames + self.silence_frames + self.recall_frames
        chance = torch.full((steps, size, 2 * self.channels + 1), self.noise)
        chance[: self.click_frames, :, :-1][clicks.repeat_interleave(self.channels, dim=-1)] = self.fires
        chance[-self.recall_frames :, :, -1] = self.fires
        spikes = (torch.rand(chance.shape, generator=source) < chance).float()
        label = (counts[:, RIGHT] > counts[:, LEFT]).long()
        return Batch(spikes, label, {"counts": counts})

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Outcome]:
        """Yield the cross-entropy at the last step, or its mean over the recall."""
        if self.loss == "last":
            yield from super().losses(net, batch)
            return
        batch = batch.like(net)
        tt.reset(net)
        tt.scan(net, batch.x[: -self.recall_frames], out="last")
        outputs = tt.scan(net, batch.x[-self.recall_frames :])
        target = batch.y.expand(self.recall_frames, -1).flatten()
        loss = nn.functional.cross_entropy(outputs.flatten(0, 1), target)
        yield Outcome(loss, classified(outputs[-1], batch.y).stats | {"loss": float(loss.detach())})

    @cached_property
    def _held_out(self) -> Batch:
        return self.draw(self.trials, generator(self.seed, "clicks", "held out"))

    @cached_property
    def _observed(self) -> Tensor:
        """The ideal observer's probability of 'left' for each held-out trial, ``[trials]``."""
        spikes = self._held_out.x[: self.click_frames]
        left, right = (part.sum(-1) for part in spikes[..., :-1].split(self.channels, dim=-1))
        return self.observer.left(left.long(), right.long())

    def held_out(self, *, quick: bool) -> Iterator[Batch]:
        """Yield the held-out trials; a quick look takes the first 500."""
        batches = self._held_out
        for start in range(0, EVALUATION_BATCH if quick else self.trials, EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            yield Batch(batches.x[:, part], batches.y[part], {"counts": batches.extra["counts"][part]})

    def evaluate(self, net: nn.Module, *, quick: bool = False) -> dict[str, float]:
        """Score the network and the ideal observer on the same held-out trials; see `Task.evaluate`.

        ``accuracy``, ``observer`` (the ideal observer's accuracy), ``of_observer`` (their ratio), ``accuracy_hard`` and
        ``observer_hard`` (trials whose click difference is under 10 % of their clicks), ``half_life_<layer>`` (mean of
        the layer's half-lives, steps) where they are learned.
        """
        answer = self._answers(net, quick=quick)
        label = self._held_out.y[: len(answer)]
        ideal = (self._observed[: len(answer)] < 0.5).long()
        hard = self.difference[: len(answer)].abs() < HARD
        right, right_ideal = (answer == label).float(), (ideal == label).float()
        scores = {
            "accuracy": float(right.mean()),
            "observer": float(right_ideal.mean()),
            "of_observer": float(right.mean() / right_ideal.mean()),
            "accuracy_hard": float(right[hard].mean()) if bool(hard.any()) else math.nan,
            "observer_hard": float(right_ideal[hard].mean()) if bool(hard.any()) else math.nan,
        }
        if self.learned:
            for name, layer in tt.layers(net).items():
                scores[f"half_life_{name}"] = float(tt.half_life(layer.neuron.beta.detach()).mean())
        return scores

    @property
    def difference(self) -> Tensor:
        """Return (left - right) / (left + right) of each held-out trial's clicks, ``[trials]``."""
        left, right = self._held_out.extra["counts"].float().unbind(-1)
        return (left - right) / (left + right)

    def _answers(self, net: nn.Module, *, quick: bool) -> Tensor:
        return torch.cat([self.answers(net, batch) for batch in self.held_out(quick=quick)])

    def figures(self, net: nn.Module) -> dict[str, Tensor]:
        """Return the first trial's raster and traces, the psychometric points, and the learned half-lives."""
        result = record(net, self._held_out.x[:, :1])
        answer = self._answers(net, quick=False)
        edges = torch.linspace(-1.0, 1.0, 22)
        place = torch.bucketize(self.difference, edges[1:-1])
        points = []
        for i in range(len(edges) - 1):
            here = place == i
            if bool(here.any()):
                network = (answer[here] == LEFT).float().mean()
                ideal = (self._observed[here] > 0.5).float().mean()
                points.append([self.difference[here].mean(), network, ideal, here.sum()])
        result["psychometric"] = torch.tensor(points)
        if self.learned:
            first = {"0": self.half_life, "1": self.readout_half_life}
            for name, layer in tt.layers(net).items():
                after = tt.half_life(layer.neuron.beta.detach()).flatten().cpu()
                result[f"half_life.{name}.before"] = torch.full_like(after, first[name])
                result[f"half_life.{name}.after"] = after
        return result
