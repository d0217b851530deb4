"""Eligibility traces for every row of a batch: exact, because rows do not mix in a network of layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tracetorch.rl.trace import FlatParameters


class RowTraces(FlatParameters):
    r"""Accumulate a trace over the parameters for each row of a batch.

    .. math:: z^b_k = \gamma\lambda\, z^b_{k-1} + \nabla_\theta\, c_k^{b\top} y^b_k

    Rows share the weights but have rewards and ends of their own, so their traces must be kept apart. One forward runs
    all rows; then each row has a backward pass of its own, with the other rows' cotangents zero. This is exact for
    every network in which rows do not mix (no batch normalisation), and for every rule with gradients at each step.
    It costs R backward passes and R · P numbers; a network per row would cost R forward passes besides, and
    `torch.func.vmap` cannot see through the layers' own credit. Where parameters are many and rows too, take
    `FactoredReflect`, which needs neither.

    Args:
        groups: a network, or several whose parameters are updated apart.
        rows: number of rows, R.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Linear(1, 1, bias=False)
        >>> traces = tt.rl.RowTraces(net, rows=2)
        >>> traces.add(net(torch.tensor([[1.0], [3.0]])), torch.ones(2, 1))
        >>> traces.value
        tensor([[1.], [3.]])
    """

    def __init__(self, groups: nn.Module | Sequence[nn.Module], rows: int) -> None:
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        super().__init__(groups, rows=rows)

    def add(self, output: Tensor, cotangent: Tensor, *, retain_graph: bool = False) -> None:
        """Add each row's gradient of `(output * cotangent).sum()` to its trace.

        Args:
            output: the network's output with its graph, `[R, n]`.
            cotangent: of the same shape.
            retain_graph: keep the graph after the last pass.

        Raises:
            ValueError: if the batch has another number of rows.
        """
        rows = len(self.value)
        if output.shape[0] != rows or cotangent.shape != output.shape:
            raise ValueError(f"{rows} rows expected, got {list(output.shape)} and {list(cotangent.shape)}")
        for row in range(rows):
            alone = torch.zeros_like(cotangent)
            alone[row] = cotangent[row]
            self.accumulate(row, output, alone, retain_graph=retain_graph or row < rows - 1)
