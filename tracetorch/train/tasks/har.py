"""What a person does, from the acceleration and rotation of a telephone or a watch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from tracetorch.data import find_file, load_arrays
from tracetorch.train.tasks.base import Batch, option
from tracetorch.train.tasks.classification import ClassificationTask
from tracetorch.train.tasks.kinds import Count, Fold, Rate, Size, Span
from tracetorch.train.tasks.networks import stack
from tracetorch.train.tasks.recordings import held_out_persons
from tracetorch.train.tasks.seeds import generator

RATE = 100
EVALUATION_BATCH = 500
QUICK = 500


class Streams(NamedTuple):
    """Recordings of some persons in a row: standardised inputs ``[samples, 6]`` and labels ``[samples]``.

    `ends` are the last samples of windows that lie within one recording, `person` their persons, ``[windows]`` each.
    """

    x: Tensor
    y: Tensor
    ends: Tensor
    person: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class HAR(ClassificationTask):
    """Human activity recognition: sitting, standing up, walking, turning or sitting down, of unseen persons.

    A window of `seconds` of one recording, at 100 / `every` samples a second (means of `every` samples), six channels
    as currents in units of the training persons' standard deviations. The label is the activity at the window's end
    (with a loss at every step: at each step). Training windows end anywhere, held-out ones twice per window length.
    Every fifth person is held out; `fold` says from which one on.

    Source: M. Matey-Sanz, S. Casteleyn, C. Granell, "Dataset of inertial measurements of smartphones and smartwatches
    for human activity recognition" (2023), https://matey97.github.io/thesis/02.2_dataset.html.
    """

    name: ClassVar[str] = "har"
    summary: ClassVar[str] = "activity from a telephone's or watch's motion, unseen persons (needs har_geotec.npz)"

    data: str | None = option(None, "the npz file or its directory; none: the environment variable TRACETORCH_DATA")
    fold: Fold = option(0, "which fifth of the persons is held out, 0 to 4")
    seconds: Span = option(2.0, "length of a window, s")
    every: Size = option(2, "samples, of 10 ms, whose mean is one time step")
    hidden: Size = option(128, "neurons in each hidden layer")
    hidden_layers: Size = option(2, "number of hidden layers")
    half_life: Span = option(10.0, "half-life of the hidden neurons, steps")
    readout_half_life: Span = option(20.0, "half-life of the readout, steps")

    lr: Rate = option(2e-3, "highest learning rate (Adam)")
    steps: Count = option(1500, "number of training iterations")
    batch_size: Size = option(64, "windows in a batch")

    def __post_init__(self) -> None:
        """Check the options that have a choice or a range."""
        super().__post_init__()
        if self.seconds < self.every / RATE:
            raise ValueError(f"seconds must be at least a time step, {self.every / RATE}, got {self.seconds}")

    @property
    def time_steps(self) -> int:
        """Return the number of time steps of a window."""
        return round(self.seconds * RATE / self.every)

    def prepare(self) -> None:
        """Load the recordings and split them by person."""
        _ = self._parts

    @cached_property
    def _parts(self) -> tuple[Streams, Streams]:
        """The training persons' and the held-out persons' recordings."""
        arrays = load_arrays(find_file("har_geotec.npz", self.data), ("x", "label", "offsets", "subject"))
        x, y, offsets, subject = (torch.from_numpy(arrays[key]) for key in ("x", "label", "offsets", "subject"))
        test = held_out_persons(subject.long(), self.fold)
        sample_held = test.repeat_interleave(offsets.diff())
        mean, deviation = x[~sample_held].mean(0), x[~sample_held].std(0)
        x = (x - mean) / deviation
        return (
            self._part(x, y.long(), offsets, subject.long(), ~test),
            self._part(x, y.long(), offsets, subject.long(), test),
        )

    def _part(self, x: Tensor, y: Tensor, offsets: Tensor, subject: Tensor, chosen: Tensor) -> Streams:
        """Return the windows of the chosen recordings; a window lies within one recording."""
        length = self.time_steps * self.every
        ends = [torch.arange(int(offsets[i]) + length - 1, int(offsets[i + 1])) for i in chosen.nonzero().flatten()]
        person = [torch.full_like(e, int(subject[i])) for e, i in zip(ends, chosen.nonzero().flatten(), strict=True)]
        if not ends or not sum(len(e) for e in ends):
            raise ValueError(f"no recording is as long as a window of {self.seconds} s: choose a shorter one")
        return Streams(x, y, torch.cat(ends), torch.cat(person))

    def network(self) -> nn.Module:
        """Build six inputs, hidden layers of LIF neurons, five leaky integrators."""
        sizes = (6, *[self.hidden] * self.hidden_layers, 5)
        return stack(sizes, half_life=self.half_life, readout_half_life=self.readout_half_life)

    def cut(self, part: Streams, ends: Tensor) -> tuple[Tensor, Tensor]:
        """Return the windows that end at `ends`: inputs ``[T, B, 6]`` and the labels of each step ``[T, B]``."""
        back = torch.arange(self.time_steps * self.every - 1, -1, -1)
        place = ends - back.unsqueeze(-1)
        x = part.x[place].unflatten(0, (self.time_steps, self.every)).mean(1)
        return x, part.y[place[self.every - 1 :: self.every]]

    def batch(self, iteration: int) -> Batch:
        """Return windows of the training persons that end anywhere, with the label of each step."""
        part = self._parts[0]
        source = generator(self.seed, self.name, iteration)
        chosen = torch.randint(len(part.ends), (self.batch_size,), generator=source)
        return Batch(*self.cut(part, part.ends[chosen]), {"person": part.person[chosen]})

    def held_out(self, *, quick: bool) -> Iterator[Batch]:
        """Yield windows of the held-out persons with the label at their ends; a quick look takes 500 of them."""
        part = self._parts[1]
        chosen = torch.arange(0, len(part.ends), max(1, self.time_steps * self.every // 2))
        if quick and len(chosen) > QUICK:
            chosen = chosen[torch.linspace(0, len(chosen) - 1, QUICK).long()]
        for these in chosen.split(EVALUATION_BATCH):
            x, y = self.cut(part, part.ends[these])
            yield Batch(x, y[-1], {"person": part.person[these]})
