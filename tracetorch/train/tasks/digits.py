"""Scikit-learn's 8 x 8 digits, in time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from tracetorch import encoding
from tracetorch.data import Images, digits
from tracetorch.train.tasks.base import option
from tracetorch.train.tasks.kinds import Coding, Count, Rate, Size, Span
from tracetorch.train.tasks.networks import stack
from tracetorch.train.tasks.pictures import ImageTask


@dataclass(frozen=True, kw_only=True, eq=False)
class Digits(ImageTask):
    """The 1,797 small digits, each shown over time: at random (``rate``) or row by row (``rows``).

    Rate-coded, a pixel fires in each step with its brightness as probability, so the sequence says the same
    at every step. Row by row, step t shows the eight pixels of one row as currents, so the label needs what
    is gone by. Two hidden layers or more, so that what a rule drops between layers shows. The digits come without
    the names of their writers, so the split is at random, not by person.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits" (1998),
    https://doi.org/10.24432/C50P49.
    """

    name: ClassVar[str] = "digits"
    evaluation_batch: ClassVar[int] = 360
    summary: ClassVar[str] = "scikit-learn's 8 x 8 digits, rate-coded or row by row in time"

    coding: Coding = option("rows", "'rate' (Bernoulli spikes) or 'rows' (row by row, as currents)")
    time_steps: Size = option(20, "time steps of the rate coding")
    repeat: Size = option(2, "time steps that a row stays")
    gain: Rate = option(3.0, "current of a white pixel, row by row, in units of the first weights' scale")
    hidden: Size = option(128, "neurons in each hidden layer")
    hidden_layers: Size = option(2, "number of hidden layers")
    half_life: Span = option(8.0, "half-life of the hidden neurons, steps")
    readout_half_life: Span = option(16.0, "half-life of the readout, steps")

    lr: Rate = option(5e-3, "highest learning rate (Adam)")
    steps: Count = option(1000, "number of training iterations")
    batch_size: Size = option(64, "images in a batch")

    @cached_property
    def _images(self) -> Images:
        return digits()

    def network(self) -> nn.Module:
        """Build inputs (64 pixels, or 8 of a row), hidden layers of LIF neurons, ten leaky integrators."""
        sizes = (64 if self.coding == "rate" else 8, *[self.hidden] * self.hidden_layers, 10)
        return stack(sizes, half_life=self.half_life, readout_half_life=self.readout_half_life)

    def encode(self, images: Tensor, source: torch.Generator) -> Tensor:
        """Code bytes ``[B, 8, 8]`` as ``[T, B, 64]`` spikes or ``[8 * repeat, B, 8]`` currents."""
        if self.coding == "rate":
            return encoding.bernoulli(images.flatten(1), steps=self.time_steps, generator=source)
        return encoding.rows(images * (self.gain / 255.0), repeat=self.repeat)
