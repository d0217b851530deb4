"""MNIST and Fashion-MNIST, coded as Bernoulli spikes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

import tracetorch as tt
from tracetorch import encoding
from tracetorch.data import Images, fashion_mnist, mnist
from tracetorch.train.tasks.base import option
from tracetorch.train.tasks.kinds import Count, Positive, Rate, Size, Span
from tracetorch.train.tasks.pictures import ImageTask

CLASSES = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class MNIST(ImageTask):
    """Handwritten digits of 28 x 28 pixels, each pixel firing with its brightness as probability.

    A fully connected network, 784-256-256-10: two hidden layers of LIF neurons, and the mean of the readout's
    current. The images stay bytes in memory; each batch is shifted by up to `shift` pixels and coded again.
    """

    name: ClassVar[str] = "mnist"
    evaluation_batch: ClassVar[int] = 1000
    quick: ClassVar[int] = 2000
    summary: ClassVar[str] = "MNIST, Bernoulli-coded (needs mnist.npz)"

    data: str | None = option(None, "the npz file or its directory; none: the environment variable TRACETORCH_DATA")
    time_steps: Size = option(20, "time steps an image is shown")
    hidden: Size = option(256, "neurons in each of the two hidden layers")
    half_life: Span = option(5.0, "half-life of the hidden neurons, steps")
    gain: Rate = option(1.0, "first weights' scale, of torch's default")
    shift: Count = option(1, "largest shift of a training image, pixels, either way and axis")

    steps: Count = option(6000, "number of training iterations")
    eval_every: Positive = option(500, "iterations between two points of the learning curve")
    batch_size: Size = option(128, "images in a batch")
    lr: Rate = option(2e-3, "highest learning rate (Adam), after the warm-up")

    @cached_property
    def _images(self) -> Images:
        return mnist(self.data)

    def network(self) -> nn.Module:
        """Build 784 inputs, two hidden layers of LIF neurons, the mean of ten currents."""
        sizes = (784, self.hidden, self.hidden)
        synapses = [nn.Linear(i, o) for i, o in pairwise(sizes)]
        with torch.no_grad():
            for synapse in synapses:
                synapse.weight.mul_(self.gain)
        hidden = [tt.Layer(synapse, tt.LIF(half_life=self.half_life)) for synapse in synapses]
        return nn.Sequential(*hidden, tt.Layer(nn.Linear(self.hidden, CLASSES), tt.Mean()))

    def moved(self, images: Tensor, source: torch.Generator) -> Tensor:
        """Shift each training image by its own random number of pixels."""
        return shifted(images, self.shift, source)

    def encode(self, images: Tensor, source: torch.Generator) -> Tensor:
        """Code bytes ``[B, 28, 28]`` as spikes ``[T, B, 784]``."""
        return encoding.bernoulli(images.flatten(1), steps=self.time_steps, generator=source)


@dataclass(frozen=True, kw_only=True, eq=False)
class FashionMNIST(MNIST):
    """Ten kinds of clothing, in MNIST's format, with its network."""

    name: ClassVar[str] = "fashion"
    summary: ClassVar[str] = "Fashion-MNIST, Bernoulli-coded (needs fashion_mnist.npz)"

    @cached_property
    def _images(self) -> Images:
        return fashion_mnist(self.data)


def shifted(images: Tensor, most: int, source: torch.Generator) -> Tensor:
    """Shift images ``[B, H, W]``, each by its own random number of pixels along both axes; zeros come in."""
    if most == 0:
        return images
    size, height, width = images.shape
    padded = nn.functional.pad(images, (most, most, most, most))
    down, right = torch.randint(0, 2 * most + 1, (2, size, 1), generator=source)
    row = (down + torch.arange(height)).unsqueeze(-1)
    column = (right + torch.arange(width)).unsqueeze(1)
    return padded[torch.arange(size).view(-1, 1, 1), row, column]
