"""Permuted sequential digits: one pixel a step, in an order that is fixed and has no meaning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from tracetorch.data import Images, digits, mnist
from tracetorch.train.tasks.base import option
from tracetorch.train.tasks.kinds import Count, Rate, Size, Span
from tracetorch.train.tasks.networks import stack
from tracetorch.train.tasks.pictures import ImageTask
from tracetorch.train.tasks.seeds import generator


@dataclass(frozen=True, kw_only=True, eq=False)
class PermutedDigits(ImageTask):
    """Scikit-learn's 8 x 8 digits, one pixel a step in a permuted order, as one current: 64 steps.

    The permutation is the same for all images and seeds. Neighbours in the image are far apart in time, so that the
    label needs the whole sequence.

    Source: Q. V. Le, N. Jaitly, G. E. Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units"
    (2015), https://arxiv.org/abs/1504.00941; the digits are those of E. Alpaydin, C. Kaynak (1998),
    https://doi.org/10.24432/C50P49.
    """

    name: ClassVar[str] = "psdigits"
    summary: ClassVar[str] = "scikit-learn's 8 x 8 digits, pixel by pixel in a permuted order"

    gain: Rate = option(3.0, "current of a white pixel, in units of the first weights' scale")
    hidden: Size = option(128, "neurons in each hidden layer")
    hidden_layers: Size = option(2, "number of hidden layers")
    recurrent: bool = option(False, "dense recurrent weights in the hidden layers")
    half_life: Span = option(30.0, "half-life of the hidden neurons, steps")
    readout_half_life: Span = option(30.0, "half-life of the readout, steps")

    lr: Rate = option(3e-3, "highest learning rate (Adam)")
    steps: Count = option(1000, "number of training iterations")
    batch_size: Size = option(64, "images in a batch")

    @cached_property
    def _images(self) -> Images:
        return digits()

    @property
    def order(self) -> Tensor:
        """The pixel that each step shows, ``[T]``."""
        pixels = self._images.x_train[0].numel()
        return torch.randperm(pixels, generator=generator(0, "permuted pixels", pixels))

    def network(self) -> nn.Module:
        """Build one input, hidden layers of LIF neurons, ten leaky integrators."""
        sizes = (1, *[self.hidden] * self.hidden_layers, 10)
        half_lives = {"half_life": self.half_life, "readout_half_life": self.readout_half_life}
        return stack(sizes, **half_lives, recurrent=self.recurrent)

    def encode(self, images: Tensor, source: torch.Generator) -> Tensor:
        """Code bytes ``[B, H, W]`` as currents ``[H W, B, 1]``."""
        return (images.flatten(1)[:, self.order].T * (self.gain / 255.0)).unsqueeze(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class PermutedMNIST(PermutedDigits):
    """MNIST's digits, one pixel a step in a permuted order, as one current: 784 steps."""

    name: ClassVar[str] = "psmnist"
    summary: ClassVar[str] = "MNIST, pixel by pixel in a permuted order (needs mnist.npz)"

    data: str | None = option(None, "the npz file or its directory; none: the environment variable TRACETORCH_DATA")
    half_life: Span = option(200.0, "half-life of the hidden neurons, steps")
    readout_half_life: Span = option(200.0, "half-life of the readout, steps")
    steps: Count = option(2000, "number of training iterations")

    @cached_property
    def _images(self) -> Images:
        return mnist(self.data)
