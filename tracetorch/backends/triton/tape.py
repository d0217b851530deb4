"""The tape of the GPU backend: currents and the states before the window, from which the states are formed again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from tracetorch.backends.interface import Cotangents, Gradients, Pull, Scan, filters_of
from tracetorch.backends.triton.compile import Forward, Reverse, kernel
from tracetorch.backends.triton.launch import coefficients, flat, launch, launch_size, rows
from tracetorch.neurons.lowering import Lowered


@dataclass(frozen=True)
class TritonTape:
    """What is kept of a forward scan.

    `start` are the states and counters before the window, `[B, N]` each, `drive` the currents, `[T, B, N]`,
    `parameters` those that the step reads, and their strides over units.
    """

    scan: Scan
    lowered: Lowered
    start: tuple[Tensor, ...]
    drive: Tensor
    parameters: tuple[tuple[Tensor, ...], tuple[int, ...]]

    def currents(self) -> Tensor:
        """Return the currents, `[T, B, *unit]`."""
        return self.drive.view(*self.drive.shape[:2], *self.scan.unit)

    @cached_property
    def before(self) -> tuple[Tensor, ...]:
        """States and counters before each step, `[T, B, N]` each, formed at the first reverse pass."""
        history = self.start[0].new_empty(len(self.start), *self.drive.shape).unbind(0)
        none = self.start[0].new_empty(0)
        self._launch(Forward(record=True), (self.drive, self.start), none, ((), (), history, ()), (0,))
        return history

    def _launch(
        self,
        variant: Forward | Reverse,
        arrays: tuple[object, object],
        numbers: Tensor,
        results: tuple[object, ...],
        firsts: tuple[int, ...],
    ) -> None:
        steps, batch, units = self.drive.shape
        values, strides = self.parameters
        total, like = batch * units, self.start[0]
        arguments = (*arrays, values, numbers, results, steps, *firsts, (total, units, strides))
        launch(kernel(self.lowered, like.dtype, launch_size(total)[0], variant), arguments, like, total)

    def reverse(self, cotangents: Cotangents, pull: Pull) -> Gradients:
        """Return the gradients of the window; see `tracetorch.backends.interface`."""
        c, like, unit = cotangents, self.start[0], self.scan.unit
        (steps, batch, units), size = self.drive.shape, self.lowered.states
        filters = filters_of(self.scan, c)
        known = tuple(name for name in self.lowered.parameters if name in pull.parameters)
        constant = pull.constant if pull.linked else None
        variant = Reverse(pull.linked, constant is not None, c.raw is not None, pull.below, filters, known)
        signal, raw = flat(c.z, unit), () if c.raw is None else (flat(c.raw, unit),)
        firsts = (steps - signal.shape[0], steps - raw[0].shape[0] if raw else steps)
        q = like.new_empty(steps, batch, units)
        below = like.new_empty(signal.shape) if pull.below else None
        after = like.new_empty(size + filters + len(known), batch, units)
        start = rows(c.s, unit) if pull.linked else ()
        if c.level is not None and filters:
            start = (*start, *rows(c.level, unit))
        results = ((q,), () if below is None else (below,), after.unbind(0))
        numbers = coefficients(c.filter, constant, like)
        self._launch(variant, ((self.before, self.drive, signal, raw), start), numbers, results, firsts)
        after = after.view(after.shape[0], batch, *unit)
        gradients = dict(zip(known, after[size + filters :].unbind(0), strict=True))
        return Gradients(
            q.view(steps, batch, *unit),
            after[:size],
            {name: gradients[name] if name in gradients else like.new_zeros(batch, *unit) for name in pull.parameters},
            after[size : size + filters] if filters else c.level,
            None,
            None if below is None else below.view(below.shape[0], batch, *unit),
        )
