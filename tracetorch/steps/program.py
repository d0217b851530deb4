"""The step program of a whole network: its layers' memory, and the table by which one compiled call finds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from tracetorch.backends.numba.steps import function
from tracetorch.backends.numba.steps import layout as at
from tracetorch.steps.cell import Cell
from tracetorch.steps.part import Part


class Program:
    """A chain of layers, from the first, that one compiled call runs for B rows and a kind of loss of the layout."""

    def __init__(self, parts: Sequence[Part], batch: int, loss: int) -> None:
        self.parts, self.batch = parts, batch
        self.dtype = parts[0].synapse.weight.dtype
        self.cells = [Cell(part, batch) for part in parts]
        self._value = torch.zeros((), dtype=torch.float64).numpy()  # which gives a number in a tenth of torch's time
        self._rows = torch.zeros(len(parts) + 1, at.COLUMNS, dtype=torch.int64)
        self.table, self._at = self._rows.numpy(), self._rows.data_ptr()
        for row, cell in zip(self.table, self.cells, strict=False):
            row[:] = cell.row()
        end = self.table[-1]
        pairs = any(cell.pairs for cell in self.cells)
        for column, which in ((at.BEGIN, "begin"), (at.GIVE, "give")):
            end[column] = function(self.dtype, which, pairs=pairs).address
        end[at.LOSS], end[at.VALUE] = loss, self._value.ctypes.data
        self._drive = function(self.dtype, "drive").call
        self._following = [cell for cell in self.cells if cell.follows]
        self._renumbers = [c for c in self.cells if any(True for n in c.part.sources for _ in n.parameters())]
        self.learns = any(part.learned for part in parts)

    def run(self, mode: int, x: int, target: int, rate: float) -> int:
        """Run the parts of a step that `mode` names, bits of the layout; return how it ended.

        Args:
            mode: the parts.
            x: address of the inputs, `[B, K]`.
            target: address of the loss's targets, or of the outputs' cotangents.
            rate: what gradients are multiplied by before they are subtracted from what they go to.

        Returns:
            One of the constants of the layout.
        """
        return self._drive(self._at, len(self.parts), x, target, mode, rate)

    def read(self) -> list[Mapping[str, Tensor]]:
        """Read the parameters that learn, and return their values with their graphs, layer by layer."""
        with parametrize.cached():
            with torch.enable_grad():
                found = [part.learns() for part in self.parts]
            for cell, values in zip(self.cells, found, strict=True):
                if tuple(values) != cell.part.learned:
                    raise RuntimeError(
                        "other neuron parameters learn than when the stream was made; make a new tt.Stream(net)"
                    )
                if values:
                    cell.read(values)
            with torch.no_grad():
                for cell in self._renumbers:
                    cell.number()
        return found

    def follow(self) -> None:
        """Follow what has been measured of the layers' activity."""
        for cell in self._following:
            cell.follow()

    def measure(self) -> None:
        """Add the last step to what is measured of the layers' activity."""
        for cell in self.cells:
            cell.measure()

    def credit_to(self, targets: Sequence[Sequence[Tensor | None]]) -> None:
        """Set the tensors that credit is added to, layer by layer in the order of `Part.weights`."""
        for row, tensors in zip(self.table, targets, strict=False):
            for column, tensor in zip(at.TARGETS, tensors, strict=True):
                row[column] = 0 if tensor is None else tensor.data_ptr()

    @property
    def value(self) -> float:
        """The last loss."""
        return float(self._value.item())

    @property
    def output(self) -> Tensor:
        """The outputs of the last layer, `[B, N]`, of which the next step makes others."""
        return self.cells[-1].output
