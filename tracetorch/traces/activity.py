r"""The mean Jacobian blocks of a layer at work, of which the layers below make its mean response.

Where a neuron's states pass on by how it spikes, as with a hard reset, a reset that keeps its gradient or adaptation,
:math:`\bar A, \bar B, \bar D, \bar\psi` are means over the units, samples and steps of the sequence before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from tracetorch.backends import Save, Scan, Tape, reference
from tracetorch.backends.torch import TorchTape
from tracetorch.neurons import Blocks

EACH = 8
"""Steps of which one is measured."""
ROWS = 4
"""Rows of the batch, at most, that are measured."""
LONG = 1000
"""Steps after which a stream that is never reset takes up what was measured."""


class Activity:
    """What a layer has been doing: mean blocks that are in use, and those that are being measured.

    `wanted` says that a layer below asks for them; `blocks` are A by rows, B, D and psi in one row, `[S S + 2 S + 1]`,
    or None before the first sequence has ended.
    """

    def __init__(self) -> None:
        self.wanted = False
        self.blocks: Tensor | None = None
        self._total: Tensor | None = None
        self._steps = 0
        self._groups: dict[int, Tensor | None] = {}
        self._counts: dict[int, int] = {}

    def groups(self, most: int, form: Callable[[], Tensor | None]) -> Tensor | None:
        """Return the group of each unit, of `most` groups at most: as it was formed first in this sequence."""
        if most not in self._groups:
            self._groups[most] = form()
        return self._groups[most]

    def count(self, most: int, form: Callable[[], Tensor | None]) -> int:
        """Return the number of groups of units."""
        group = self.groups(most, form)
        if most not in self._counts:
            self._counts[most] = 1 if group is None else int(group.max()) + 1
        return self._counts[most]

    @property
    def grouping(self) -> object:
        """What stands for how units are grouped: another object once they may be grouped otherwise."""
        return self._groups

    def depends(self) -> list[Tensor | None]:
        """Return what the response of the layer depends on beside its neuron, each replaced and not written."""
        return [self.blocks, *self._groups.values()]

    def begin(self) -> None:
        """Begin a new sequence: take up what was measured, and let units be grouped by the values they have now."""
        self.take()
        self._groups, self._counts = {}, {}

    def measure(self, scan: Scan, tape: Tape) -> None:
        """Add a window to what is being measured: every eighth step of the sequence, however it is cut into windows."""
        if not torch.compiler.is_compiling():
            self.add(scan.steps, lambda steps: mean_blocks(scan, tape, steps))

    def add(self, length: int, blocks: Callable[[list[int]], Tensor]) -> None:
        """Add a window of some length, of whose steps `blocks` gives the mean blocks of those that are measured."""
        if not self.wanted:
            return
        steps = list(range(-self._steps % EACH, length, EACH))
        self._steps += length
        if steps:
            mean = blocks(steps) * len(steps)
            same = self._total is not None and self._total.shape == mean.shape
            self._total = mean if self._total is None or not same else self._total.to(mean) + mean
        if self._steps >= LONG:
            self.take()

    def measured(self) -> Callable[[], None]:
        """Return what takes back all that is measured from now on."""
        return partial(self._restore, self.blocks, self._total, self._steps)

    def _restore(self, blocks: Tensor | None, total: Tensor | None, steps: int) -> None:
        self.blocks, self._total, self._steps = blocks, total, steps

    def take(self) -> None:
        """Take up what was measured, at the end of a sequence."""
        if self._total is not None:
            self.blocks = self._total / -(-self._steps // EACH)
        self._total, self._steps = None, 0

    def forget(self) -> None:
        """Begin as a layer that has not run yet."""
        self.blocks, self._total, self._steps = None, None, 0
        self._groups, self._counts = {}, {}

    def tensors(self) -> dict[str, Tensor]:
        """Return everything as a flat dictionary."""
        flat = {} if self.blocks is None else {"blocks": self.blocks}
        if self._total is not None:
            flat |= {"total": self._total, "steps": torch.tensor(self._steps)}
        one = torch.zeros(1, dtype=torch.int64)
        return flat | {f"groups.{most}": one if group is None else group for most, group in self._groups.items()}

    def load(self, flat: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        self.blocks, self._total = flat.get("blocks"), flat.get("total")
        self._steps = int(flat["steps"]) if "steps" in flat else 0
        groups = {int(k.partition(".")[2]): v for k, v in flat.items() if k.startswith("groups.")}
        self._groups = {most: v if bool(v.any()) else None for most, v in groups.items()}
        self._counts = {}


def mean_blocks(scan: Scan, tape: Tape, steps: list[int]) -> Tensor:
    """Return the mean blocks over some steps of a window, all units and a few rows, `[S S + 2 S + 1]`."""
    if not isinstance(tape, TorchTape):
        s = tuple(x[:ROWS] for x in scan.s)
        few = replace(scan, s=s, drive=tape.currents()[:, :ROWS], product=None, recurrent=None, z=None, out=None)
        found = reference().forward(few, Save(tape=True)).tape
        if not isinstance(found, TorchTape):
            raise TypeError("the readable backend gave no tape of its own")
        tape = found
    before = tuple(x[steps][:, :ROWS] for x in tape.before)
    tape = TorchTape(tape.scan, before, tape.current[steps][:, :ROWS])
    blocks: Blocks = tape.blocks()
    entries = [x for row in blocks.A for x in row] + [*blocks.B, *blocks.D, blocks.psi]
    zero = torch.zeros_like(tape.current)
    return torch.stack([zero.mean() if x is None else x.detach().expand(zero.shape).mean() for x in entries])
