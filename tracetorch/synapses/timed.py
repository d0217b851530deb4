"""A synapse in front of a neuron that takes the time since the step before as its second current."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from tracetorch.synapses.base import Synapse


class Times(Protocol):
    """The times between steps, as they are used up."""

    def of(self, xs: Tensor) -> Tensor:
        """Return the times for the steps of a window, `[T, B]`."""
        ...

    def passed(self, steps: int) -> None:
        """Count steps that have been run."""
        ...


class TimedSynapse(Synapse):
    """Adapt what another adapter serves: its current first, then the time, which no credit goes to.

    `dt` are the times of a window, `[T, B]`, None for `fill` at each step; `settles` counts its steps after it was run.
    """

    count = 2
    currents = ("i", "dt")

    def __init__(
        self, inner: Synapse, *, dt: Tensor | None = None, fill: float = 1.0, settles: Times | None = None
    ) -> None:
        super().__init__(inner.module)
        self.inner, self.dt, self.fill, self.settles = inner, dt, fill, settles
        self.shared = inner.shared

    @property
    def together(self) -> str | None:
        """Why all rows have to run through a window together; else None."""
        return self.inner.together

    def require_usable(self) -> None:
        """Raise TypeError where the module cannot be served as it is now."""
        self.inner.require_usable()

    def weights(self) -> tuple[Tensor, ...]:
        """Return the weights."""
        return self.inner.weights()

    def bias(self) -> Tensor | None:
        """Return the bias for both currents, zero for the time."""
        bias = self.inner.bias()
        return None if bias is None else torch.stack([bias, torch.zeros_like(bias)])

    def feedback_weight(self) -> Tensor | None:
        """Return the weight that a fixed feedback matrix may stand for."""
        return self.inner.feedback_weight()

    def check(self, x: Tensor) -> None:
        """Raise ValueError where an input does not fit."""
        self.inner.check(x)

    def out_units(self, x: Tensor) -> torch.Size:
        """Return the shape of the units, with the two currents first."""
        return torch.Size((2, *self.inner.out_units(x)))

    def plain(self) -> Synapse:
        """Return the adapter of what connects inputs to units."""
        return self.inner.plain()

    def at(self, times: Times | None, xs: Tensor) -> Synapse:
        """Return the adapter of a window `[T, B, *in]` with its times."""
        dt = None if times is None else times.of(xs)
        return TimedSynapse(self.inner.over(xs), dt=dt, fill=self.fill, settles=times)

    def settle(self) -> None:
        """Count the steps, and take up in the module what the window has shown."""
        self.inner.settle()
        if self.settles is not None and self.dt is not None:
            self.settles.passed(len(self.dt))

    def joined(self, windows: Sequence[Synapse]) -> Synapse:
        """Return the adapter for windows that follow one another."""
        return TimedSynapse(self.inner.joined([w.inner for w in windows if isinstance(w, TimedSynapse)]))

    def current(self, x: Tensor) -> Tensor:
        """Return the currents `[N, 2, *unit]`."""
        own = self.inner.current(x)
        dt = torch.full_like(own, self.fill)
        if self.dt is not None:
            dt = self.dt.to(own).reshape(-1, *[1] * (own.dim() - 1)).expand_as(own)
        return torch.stack([own, dt], dim=1)

    def features(self, x: Tensor) -> Tensor:
        """Return the features."""
        return self.inner.features(x)

    def patches(self, features: Tensor) -> Tensor:
        """Return the features per position."""
        return self.inner.patches(features)

    def weight_grad(self, features: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        """Return the weights' gradients."""
        return self.inner.weight_grad(features, q[:, 0])

    def input_grad(self, q: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return the inputs' cotangents."""
        return self.inner.input_grad(q[:, 0], x, weight)

    def units(self, q: Tensor) -> Tensor:
        """Return the values of the first current as `[N, G, O, L]`."""
        return self.inner.units(q[:, 0])

    def outer(self, q: Tensor, patches: Tensor) -> Tensor:
        """Return the sum over time of outer products."""
        return self.inner.outer(q, patches)

    def fold(self, grad: Tensor) -> tuple[Tensor, ...]:
        """Return the gradient in the weights' own shapes."""
        return self.inner.fold(grad)
