"""The common part of tasks whose sequences are drawn at random: no data file, no sequence twice."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from tracetorch.train.tasks.base import Batch, option
from tracetorch.train.tasks.classification import UNLABELLED, ClassificationTask
from tracetorch.train.tasks.kinds import Count, Rate, Size, Span
from tracetorch.train.tasks.networks import stack
from tracetorch.train.tasks.seeds import generator

EVALUATION_BATCH = 250


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnTask(ClassificationTask):
    """The labelling of sequences that `draw` makes: each training batch is new, the held-out ones are fixed.

    `draw` labels every step at which an answer is due; `scored` says which of these the score counts.
    """

    trials: Size = option(1000, "held-out sequences")
    hidden: Size = option(100, "neurons in each hidden layer")
    hidden_layers: Size = option(1, "number of hidden layers")
    recurrent: bool = option(False, "dense recurrent weights in the hidden layers")
    steps: Count = option(1000, "number of training iterations")
    loss: str = option("every", "where the loss is: at the 'last' step, or at 'every' step at which an answer is due")

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Return the number of input channels and of classes."""

    @abstractmethod
    def draw(self, size: int, source: torch.Generator) -> Batch:
        """Draw sequences: inputs ``[T, B, channels]``, targets ``[T, B]``, `UNLABELLED` where no answer is due."""

    def scored(self, y: Tensor) -> Tensor:
        """Return the targets that the score counts, ``[B]`` or ``[T, B]``: those of the last step here."""
        return y[-1]

    def batch(self, iteration: int) -> Batch:
        """Draw the sequences of `iteration`."""
        return self.draw(self.batch_size, generator(self.seed, self.name, iteration))

    @cached_property
    def _held_out(self) -> Batch:
        return self.draw(self.trials, generator(self.seed, self.name, "held out"))

    def held_out(self, *, quick: bool) -> Iterator[Batch]:
        """Yield the held-out sequences with the targets that are scored; a quick look takes the first 250."""
        batches = self._held_out
        y = self.scored(batches.y)
        for start in range(0, min(EVALUATION_BATCH, self.trials) if quick else self.trials, EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            yield Batch(batches.x[:, part], y[..., part], {key: value[part] for key, value in batches.extra.items()})


@dataclass(frozen=True, kw_only=True, eq=False)
class StackedTask(DrawnTask):
    """Such a task whose network is hidden layers of LIF neurons under leaky integrators, one per class."""

    hidden_layers: Size = option(2, "number of hidden layers")
    half_life: Span = option(20.0, "half-life of the hidden neurons, steps")
    readout_half_life: Span = option(5.0, "half-life of the readout, steps")
    lr: Rate = option(5e-3, "highest learning rate (Adam)")

    def network(self) -> nn.Module:
        """Build hidden layers of LIF neurons under leaky integrators."""
        return self.stack()

    def stack(self, input_scale: float = 1.0) -> nn.Sequential:
        """Build them with the first layer's first weights times a factor."""
        inputs, classes = self.shape
        sizes = (inputs, *[self.hidden] * self.hidden_layers, classes)
        half_lives = {"half_life": self.half_life, "readout_half_life": self.readout_half_life}
        return stack(sizes, **half_lives, recurrent=self.recurrent, input_scale=input_scale)


def groups(active: Tensor, size: int, source: torch.Generator, *, on: float, off: float) -> Tensor:
    """Code which groups are active, ``[T, B, G]``, as spikes of `size` channels each, ``[T, B, G * size]``.

    Every channel fires in a step with the probability of its group's state, `on` or `off`.

    >>> import torch
    >>> active = torch.tensor([[[True, False]]])
    >>> groups(active, 2, torch.Generator().manual_seed(0), on=1.0, off=0.0).tolist()
    [[[1.0, 1.0, 0.0, 0.0]]]
    """
    chance = torch.where(active, on, off).repeat_interleave(size, dim=-1)
    return (torch.rand(chance.shape, generator=source) < chance).float()


def unlabelled(steps: int, size: int) -> Tensor:
    """Return targets ``[T, B]`` of which none is set."""
    return torch.full((steps, size), UNLABELLED)
