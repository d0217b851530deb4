"""The common part of tasks that put a label on an image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from tracetorch.data import Images
from tracetorch.train.tasks.base import Batch
from tracetorch.train.tasks.classification import ClassificationTask
from tracetorch.train.tasks.seeds import examples, generator


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageTask(ClassificationTask):
    """The labelling of images, each shown over time as `encode` says."""

    evaluation_batch: ClassVar[int] = 250
    quick: ClassVar[int] = 1000

    def prepare(self) -> None:
        """Load the images."""
        _ = self._images

    @cached_property
    @abstractmethod
    def _images(self) -> Images:
        """The images, in their official order."""

    @abstractmethod
    def encode(self, images: Tensor, source: torch.Generator) -> Tensor:
        """Code bytes ``[B, H, W]`` as a window ``[T, B, n]``."""

    def moved(self, images: Tensor, source: torch.Generator) -> Tensor:
        """Return training images ``[B, H, W]`` as they are shown: as they are."""
        return images

    def batch(self, iteration: int) -> Batch:
        """Return the images of `iteration`, coded."""
        images = self._images
        index = examples(self.seed, iteration, size=len(images.x_train), batch_size=self.batch_size)
        source = generator(self.seed, self.name, iteration)
        return Batch(self.encode(self.moved(images.x_train[index], source), source), images.y_train[index])

    def held_out(self, *, quick: bool) -> Iterator[Batch]:
        """Yield the held-out images; a quick look takes the first of them."""
        images = self._images
        source = generator(self.seed, self.name, "held out")
        size = min(self.quick, len(images.x_test)) if quick else len(images.x_test)
        for start in range(0, size, self.evaluation_batch):
            part = slice(start, min(start + self.evaluation_batch, size))
            yield Batch(self.encode(images.x_test[part], source), images.y_test[part])
