"""Eligibility traces over the parameters of a network, in one flat tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ParameterTrace:
    r"""A fading trace over a network's parameters, for each row of a batch.

    .. math:: z^b_k = \gamma\lambda\, z^b_{k-1} + \nabla_\theta\, c_k^{b\top} y^b_k

    with :math:`y_k` the network's output and :math:`c_k` a cotangent, for example that of :math:`\log\pi(a_k)`.
    Autograd adds the gradient to the trace in place, so a step of one row costs one product in place and one backward
    pass.

    Rows share the weights but have rewards and ends of their own, so each has its own trace: one forward runs all
    rows, then each row has a backward pass with the other rows' cotangents zero. This is exact for every network in
    which rows do not mix (no batch normalisation), and costs R backward passes and R · P numbers.

    Args:
        net: the network.
        rows: number of rows, R.

    Raises:
        ValueError: if there is no row, nothing in the network learns, or its parameters mix dtypes or devices.

    Attributes:
        parameters: the parameters that learn, P numbers in all.
        value: the traces, `[R, P]`.

    Source: R. S. Sutton, A. G. Barto, "Reinforcement Learning: An Introduction", 2nd ed., chapters 12 and 13 (2018),
    http://incompleteideas.net/book/the-book-2nd.html.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Linear(2, 1, bias=False)
        >>> trace = tt.rl.ParameterTrace(net)
        >>> for x in (torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])):
        ...     trace.decay(0.5)
        ...     trace.add(net(x), torch.ones(1, 1))
        >>> trace.value
        tensor([[0.5000, 1.0000]])
    """

    def __init__(self, net: nn.Module, rows: int = 1) -> None:
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        self.parameters = [p for p in net.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("the network has no parameter that learns: set requires_grad")
        kinds = {(p.dtype, p.device) for p in self.parameters}
        if len(kinds) > 1:
            raise ValueError(f"a trace is one flat tensor, but the parameters are of {sorted(map(str, kinds))}")
        self.value = self.parameters[0].new_zeros(rows, sum(p.numel() for p in self.parameters))
        # Detached, they share memory and version with the parameters, and move without a switch of the grad mode.
        self._weights = [p.detach() for p in self.parameters]
        self._views = [self.split(row) for row in self.value]

    def split(self, flat: Tensor) -> list[Tensor]:
        """Return views in the parameters' shapes.

        Args:
            flat: a flat row, `[P]`.

        Returns:
            One view for each parameter, `[*parameter]`.
        """
        parts = flat.split([p.numel() for p in self.parameters])
        return [part.view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]

    def add(self, output: Tensor, cotangent: Tensor, *, retain_graph: bool = False) -> None:
        """Add each row's gradient of `(output * cotangent).sum()` to its trace, in place.

        Args:
            output: the network's output with its graph, `[R, n]`; of any batch where there is one trace.
            cotangent: its cotangent, `[R, n]`.
            retain_graph: keep the graph after the last backward pass.

        Raises:
            ValueError: if the batch has another number of rows.
        """
        rows = len(self.value)
        if rows == 1:
            self._accumulate(0, output, cotangent, retain_graph=retain_graph)
            return
        if output.shape[0] != rows or cotangent.shape != output.shape:
            raise ValueError(f"{rows} rows expected, got {list(output.shape)} and {list(cotangent.shape)}")
        for row in range(rows):
            alone = torch.zeros_like(cotangent)
            alone[row] = cotangent[row]
            self._accumulate(row, output, alone, retain_graph=retain_graph or row < rows - 1)

    def _accumulate(self, row: int, output: Tensor, cotangent: Tensor, *, retain_graph: bool) -> None:
        """Let autograd add to the row's views, which replace the parameters' `.grad` meanwhile."""
        before = [p.grad for p in self.parameters]
        try:
            for p, view in zip(self.parameters, self._views[row], strict=True):
                p.grad = view
            torch.autograd.backward((output,), (cotangent,), retain_graph=retain_graph)
        finally:
            for p, grad in zip(self.parameters, before, strict=True):
                p.grad = grad

    def decay(self, factor: float) -> None:
        """Multiply all rows by a factor.

        Args:
            factor: `gamma * lambda`.
        """
        self.value.mul_(factor)

    def clear(self, mask: Tensor | None = None) -> None:
        """Forget the past, at termination and at truncation.

        Args:
            mask: `[R]`, true for the rows that forget; None for all.
        """
        if mask is None:
            self.value.zero_()
        else:
            self.value.masked_fill_(mask.reshape(-1, 1).to(self.value.device), 0.0)

    def weighted(self, weights: Tensor) -> Tensor:
        r"""Return the sum of the rows, weighted: :math:`\sum_b w_b z^b`.

        Args:
            weights: `[R]`, for example the rows' TD errors.

        Returns:
            A flat row, `[P]`.
        """
        return weights.to(self.value) @ self.value

    def move(self, scales: Sequence[float]) -> None:
        r"""Add the rows, scaled, to the parameters.

        Args:
            scales: the factor of each row.
        """
        if len(self.value) == 1:
            torch._foreach_add_(self._weights, self._views[0], alpha=scales[0])
        else:
            self.shift(self.weighted(self.value.new_tensor(scales)))

    def shift(self, flat: Tensor) -> None:
        """Add a flat row to the parameters.

        Args:
            flat: the row, `[P]`.
        """
        torch._foreach_add_(self._weights, self.split(flat))

    def write_grad(self, flat: Tensor) -> None:
        """Make a flat row the parameters' `.grad`, for an optimizer of torch.

        Args:
            flat: the row, `[P]`.
        """
        for p, view in zip(self.parameters, self.split(flat), strict=True):
            p.grad = view

    def state_dict(self) -> dict[str, Tensor]:
        """Return the rows, for a checkpoint.

        Returns:
            `value`, `[R, P]`.
        """
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the rows, in place.

        Args:
            state: what `state_dict` returned.

        Raises:
            ValueError: if it is of another network or number of rows.
        """
        if state["value"].shape != self.value.shape:
            raise ValueError(f"the trace is {list(self.value.shape)}, the state {list(state['value'].shape)}")
        self.value.copy_(state["value"])
