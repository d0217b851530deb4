"""An account of one layer in float64 that shares nothing with the library: plain loops and autograd's own graph."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # scale 2
        (x,) = ctx.saved_tensors
        return grad / (1 + (math.pi * x) ** 2)


class Account:
    """One layer, its state with the whole graph, and what each rule leaves of that graph.

    Args:
        kind: `dense`, `conv`, `recurrent` or `user`.
        weights: synapse weight and bias, then the recurrent weight, as float64 leaves.
        beta: the membrane's decay.
        rule: the rule's name.
    """

    def __init__(self, kind: str, weights: list[Tensor], beta: float, rule: str) -> None:
        self.kind, self.weights, self.beta, self.rule = kind, weights, beta, rule
        self.v: Tensor | None = None
        self.a: Tensor | None = None
        self.z: Tensor | None = None
        self.spikes = 0

    def state(self) -> tuple[Tensor | None, ...]:
        return self.v, self.a, self.z

    def restore(self, state: tuple[Tensor | None, ...]) -> None:
        self.v, self.a, self.z = state

    def change(self, f: Any) -> None:
        """Apply a function to each part of the state."""
        self.restore(tuple(None if x is None else f(x) for x in self.state()))

    def forget(self) -> None:
        self.change(Tensor.detach)

    def reset(self, mask: Tensor | None = None) -> None:
        if mask is None:
            self.restore((None, None, None))
        else:
            self.change(lambda x: x * (~mask).to(x).reshape(-1, *[1] * (x.dim() - 1)))

    def current(self, x: Tensor) -> Tensor:
        if self.kind == "conv":
            return nn.functional.conv1d(x, *self.weights[:2])
        return x @ self.weights[0].t() + self.weights[1]

    def window(self, xs: Tensor) -> Tensor:
        """Run over a window and return the outputs."""
        if self.rule == "tbptt":
            self.forget()
        return torch.stack([self._step(x) for x in xs])

    def _step(self, x: Tensor) -> Tensor:
        current = self.current(x)
        if self.rule == "sltt":
            self.forget()
        if self.v is None:
            self.v, self.a, self.z = (torch.zeros_like(current) for _ in range(3))
        if self.kind == "recurrent":
            fed = self.z if self.rule in ("tbptt", "bptt") else self.z.detach()
            current = current + fed @ self.weights[2].t()
        v = self.beta * self.v + current
        if self.kind == "user":
            z = _Spike.apply(v - 1 - 0.3 * self.a)
            self.v, self.a = v - z, 0.95 * self.a + z
        else:
            z = _Spike.apply(v - 1)
            self.v = v - z.detach()
        self.z = z
        self.spikes += int(z.sum())
        return z
