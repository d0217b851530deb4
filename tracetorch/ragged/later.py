"""What layers come to after a window, computed when it is first read, with the weights of the time of the window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracetorch.engine import Core, LayerState


class Later:
    """The states of a network's layers after a window.

    Args:
        cores: what the layers hold beside their modules.
        before: what they carried before the window.
        weights: the network's parameters.
        compute: what runs the window, and leaves the layers with what they come to.
    """

    def __init__(
        self,
        cores: Sequence[Core],
        before: Sequence[LayerState | None],
        weights: Sequence[Tensor],
        compute: Callable[[], Any],
    ) -> None:
        self.cores, self.before = cores, before
        self.weights = [(weight, weight.detach().clone(), weight.requires_grad) for weight in weights]
        self.grad = torch.is_grad_enabled()
        self.compute: Callable[[], Any] | None = compute
        self._states: list[LayerState | None] = []

    def stand_in(self) -> None:
        """Take the places of the states in the layers."""
        for i, core in enumerate(self.cores):
            core.state = self.before[i]
            core.stepper = One(self, i)

    def states(self) -> list[LayerState | None]:
        """Return the states."""
        if self.compute is not None:
            aside = [dict(core.__dict__) for core in self.cores]
            try:
                with torch.set_grad_enabled(self.grad), self._weights_of_then():
                    self.compute()
                    self._states = [core.state for core in self.cores]
            finally:
                for core, fields in zip(self.cores, aside, strict=True):
                    core.__dict__.update(fields)
            self.compute, self.weights = None, []
        return self._states

    @contextmanager
    def _weights_of_then(self) -> Iterator[None]:
        now = [(weight, weight.data, weight.requires_grad) for weight, _, _ in self.weights]
        try:
            for weight, value, learns in self.weights:
                weight.data, weight.requires_grad = value, learns
            yield
        finally:
            for weight, value, learns in now:
                weight.data, weight.requires_grad = value, learns


@dataclass(frozen=True)
class One:
    """The state of one layer.

    Args:
        network: the states of all.
        index: number of the layer.
    """

    network: Later
    index: int

    def state(self) -> LayerState:
        """Return what the layer carries now."""
        found = self.network.states()[self.index]
        if found is None:
            raise RuntimeError("a layer was not run by its network's scan")
        return found

    def undone(self) -> LayerState | None:
        """Return what the layer carried before the window."""
        return self.network.before[self.index]
