"""The tape of the CPU backend: currents and the states before the window, from which a reverse pass starts again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.backends.interface import Cotangents, Gradients, Pull, Scan, filters_of
from tracetorch.backends.numba.arrays import absent, coefficients, empty, flat
from tracetorch.backends.numba.compile import Reverse, neuron_kernel
from tracetorch.backends.numba.workers import Workers
from tracetorch.neurons.lowering import Lowered


@dataclass(frozen=True)
class NumbaTape:
    """What is kept of a forward scan; states are formed again in the reverse kernel.

    `start` are the states and counters before the window, `[S + C, B, N]`, `drive` the currents, `[T, B, (C,) N]`,
    `parameters` those that the step reads, `[P, N]`; a kernel computes `width` units at once.
    """

    scan: Scan
    lowered: Lowered
    start: Tensor
    drive: Tensor
    parameters: Tensor
    width: int
    workers: Workers

    def currents(self) -> Tensor:
        """Return the total currents, `[T, B, *unit]`."""
        return self.drive.view(*self.drive.shape[:-1], *self.scan.unit)

    def reverse(self, cotangents: Cotangents, pull: Pull) -> Gradients:
        """Return the gradients of the window; see `tracetorch.backends.interface`."""
        c, like, unit = cotangents, self.drive, self.scan.unit
        (steps, batch, *each, units), size = self.drive.shape, self.lowered.states
        filters = filters_of(self.scan, c)
        known = tuple(name for name in self.lowered.parameters if name in pull.parameters)
        fed = c.fed is not None and pull.linked
        constant = pull.constant if pull.linked else None
        variant = Reverse(pull.linked, constant is not None, fed or c.raw is not None, fed, pull.below)
        kernel = neuron_kernel(self.lowered, like.dtype, self.width, filters, variant, *known)
        none = absent(3, like)
        level = none if c.level is None or c.filter is None else flat(c.level, unit, like.dtype)
        level_next = torch.empty_like(level)
        s_next = like.new_empty(size, batch, units) if pull.linked else like.new_zeros(size, batch, units)
        fed_next = like.new_empty(batch, units) if fed else absent(2, like)
        q = empty(like.shape, like)
        grads = like.new_empty(len(known), batch, units)
        signal, raw = flat(c.z, unit, like.dtype), none if c.raw is None else flat(c.raw, unit, like.dtype)
        below = empty((*signal.shape[:-1], *each, units), like) if pull.below else none
        kernel(
            self.workers,
            batch,
            (steps, batch, units, steps - signal.shape[0], steps - raw.shape[0]),
            self.start,
            self.drive,
            self.parameters,
            signal,
            raw,
            coefficients(c.filter, like),
            absent(1, like) if constant is None else torch.cat([x.detach().to(like).reshape(-1) for x in constant]),
            self._recurrent() if fed else absent(2, like),
            flat(c.fed, unit, like.dtype) if fed and c.fed is not None else absent(2, like),
            fed_next,
            flat(c.s, unit, like.dtype) if pull.linked else none,
            s_next,
            level,
            level_next,
            q,
            grads,
            below,
        )
        gradients = dict(zip(known, grads.view(len(known), batch, *unit).unbind(0), strict=True))
        return Gradients(
            q.view(steps, batch, *each, *unit),
            s_next.view(size, batch, *unit),
            {name: gradients[name] if name in gradients else like.new_zeros(batch, *unit) for name in pull.parameters},
            c.level if c.filter is None else level_next.view(filters, batch, *unit),
            fed_next.view(batch, *unit) if fed else None,
            below.view(*below.shape[:-1], *unit) if pull.below else None,
        )

    def _recurrent(self) -> Tensor:
        """Return the recurrent weight, `[N, N]`, through which credit goes back to the last outputs."""
        dense = None if self.scan.recurrent is None else self.scan.recurrent.dense()
        return absent(2, self.drive) if dense is None else dense[0].detach().contiguous()
