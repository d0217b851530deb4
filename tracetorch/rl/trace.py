"""Eligibility traces over the parameters of a network, in one flat tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatParameters(ABC):
    """Lay tensors of a network's parameters' shapes into flat rows.

    Args:
        groups: a network, or several whose parameters are updated apart, such as an actor and a critic.
        rows: number of flat rows, R.

    Raises:
        ValueError: if nothing in them learns, a parameter stands in two groups, or they mix dtypes or devices.

    Attributes:
        parameters: the parameters that learn, in the order of the groups, P numbers in all.
        value: the flat rows, `[R, P]`.
        segments: for each group its parameters, and the part of the rows that is theirs, `[R, P_group]`.
    """

    def __init__(self, groups: nn.Module | Sequence[nn.Module], rows: int = 1) -> None:
        modules = [groups] if isinstance(groups, nn.Module) else list(groups)
        found = [[p for p in module.parameters() if p.requires_grad] for module in modules]
        self.parameters = [p for group in found for p in group]
        if not all(found) or not found:
            raise ValueError("a group has no parameter that learns: set requires_grad, or leave the group out")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ValueError("a parameter stands in two groups: give one group, such as the whole network")
        kinds = {(p.dtype, p.device) for p in self.parameters}
        if len(kinds) > 1:
            raise ValueError(f"a trace is one flat tensor, but the parameters are of {sorted(map(str, kinds))}")
        self.value = self.parameters[0].new_zeros(rows, sum(p.numel() for p in self.parameters))
        self.segments: list[tuple[list[Tensor], Tensor]] = []
        start = 0
        for group in found:
            end = start + sum(p.numel() for p in group)
            # Detached, they share memory and version with the parameters, and move without a switch of the grad mode.
            self.segments.append(([p.detach() for p in group], self.value[:, start:end]))
            start = end
        self._views = [self.split(row) for row in self.value]

    def split(self, flat: Tensor) -> list[Tensor]:
        """Return views of a flat row `[P]` in the parameters' shapes."""
        parts = flat.split([p.numel() for p in self.parameters])
        return [part.view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]

    @abstractmethod
    def add(self, output: Tensor, cotangent: Tensor, *, retain_graph: bool = False) -> None:
        """Add the gradient of `(output * cotangent).sum()`, each row's to its own; see `accumulate`."""

    def accumulate(self, row: int, output: Tensor, cotangent: Tensor, *, retain_graph: bool = False) -> None:
        """Add the gradient of one backward pass to a row, in place.

        While autograd runs, the row's views stand in the place of the parameters' `.grad`, so that it adds to them;
        what stood there before is put back.

        Args:
            row: which row.
            output: a network's output with its graph, `[B, n]`.
            cotangent: what to send back, of the same shape.
            retain_graph: keep the graph for another pass.
        """
        kept = [p.grad for p in self.parameters]
        try:
            for p, view in zip(self.parameters, self._views[row], strict=True):
                p.grad = view
            torch.autograd.backward((output,), (cotangent,), retain_graph=retain_graph)
        finally:
            for p, grad in zip(self.parameters, kept, strict=True):
                p.grad = grad

    def decay(self, factor: float) -> None:
        """Multiply all rows, by `gamma * lambda`."""
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

    def move(self, scales: Sequence[Sequence[float]]) -> None:
        r"""Add the rows, scaled, to the parameters.

        Args:
            scales: for each group, the factor of each row.
        """
        views = self._views[0]
        if len(self.value) > 1:
            parts = [
                self.value.new_tensor(scale) @ part for scale, (_, part) in zip(scales, self.segments, strict=True)
            ]
            views = self.split(torch.cat(parts))
            scales = [[1.0]] * len(self.segments)
        start = 0
        for (group, _), scale in zip(self.segments, scales, strict=True):
            torch._foreach_add_(group, views[start : start + len(group)], alpha=scale[0])
            start += len(group)

    def shift(self, flat: Tensor, scale: float) -> None:
        """Add a flat row `[P]`, scaled, to the parameters."""
        parameters = [p for group, _ in self.segments for p in group]
        torch._foreach_add_(parameters, self.split(flat), alpha=scale)

    def write_grad(self, flat: Tensor) -> None:
        """Make a flat row `[P]` the parameters' `.grad`, for an optimizer of torch."""
        for p, view in zip(self.parameters, self.split(flat), strict=True):
            p.grad = view

    def state_dict(self) -> dict[str, Tensor]:
        """Return the rows."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take back what `state_dict` gave, in place.

        Args:
            state: the dictionary.

        Raises:
            ValueError: if it is of another network or number of rows.
        """
        if state["value"].shape != self.value.shape:
            raise ValueError(f"the trace is {list(self.value.shape)}, the state {list(state['value'].shape)}")
        self.value.copy_(state["value"])


class ParameterTrace(FlatParameters):
    r"""Accumulate gradients over the parameters of one stream, fading.

    .. math:: z_k = \gamma\lambda\, z_{k-1} + \nabla_\theta\, c_k^\top y_k

    with :math:`y_k` the network's output and :math:`c_k` a cotangent, for example that of
    :math:`\log\pi(a_k)`. The gradient is never held by itself: autograd adds it to the trace in place, so a step costs
    one product in place and one backward pass.

    Args:
        groups: a network, or several whose parameters are updated apart, such as an actor and a critic.

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

    def __init__(self, groups: nn.Module | Sequence[nn.Module]) -> None:
        super().__init__(groups, rows=1)

    def add(self, output: Tensor, cotangent: Tensor, *, retain_graph: bool = False) -> None:
        """Add the gradient of `(output * cotangent).sum()` to the trace; see `FlatParameters.accumulate`."""
        self.accumulate(0, output, cotangent, retain_graph=retain_graph)
