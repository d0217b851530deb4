"""A control: a GRU with truncated backpropagation, instead of a task's network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tracetorch.rl.body import AutogradBody


class GRU(nn.Module):
    """A GRU cell under a linear readout with small first weights.

    Args:
        inputs: Number of inputs.
        hidden: Number of units.
        outputs: Number of outputs.
        window: Number of steps that credit reaches back, the present one included.

    Example:
        >>> GRU(3, 4, 2, window=5)(torch.ones(1, 5, 3), torch.zeros(1, 4), torch.zeros(1, 5))[0].shape
        torch.Size([1, 2])
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, *, window: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(inputs, hidden)
        self.readout = nn.Linear(hidden, outputs)
        self.window = window
        with torch.no_grad():
            self.readout.weight.mul_(0.1)

    @staticmethod
    def window_for(numbers: int, inputs: int, hidden: int) -> int:
        """Return the longest window, at least 1, whose activations are no more than so many numbers.

        Autograd saves three gates, a candidate's recurrent part and the state of a step.
        """
        return max(1, numbers // (inputs + 5 * hidden))

    def forward(self, xs: Tensor, h: Tensor, begins: Tensor) -> tuple[Tensor, Tensor]:
        """Run the cell over a window, `[B, T, inputs]`, from a state `[B, hidden]`; `begins`, `[B, T]`: first steps.

        Return the last output, `[B, outputs]`, and the state after the first step, without a graph.
        """
        states = []
        for x, begin in zip(xs.unbind(1), begins.bool().unbind(1), strict=True):
            h = self.cell(x, h.masked_fill(begin.unsqueeze(1), 0.0))
            states.append(h)
        return self.readout(h), states[0].detach()


class GRUBody(AutogradBody):
    """Run a GRU over the last steps at each step, so that its gradient is that of truncated backpropagation.

    It carries the state from before the last inputs, these, `[B, T, inputs]`, and which of them, and of the next one,
    begin an episode, `[B, T + 1]`.
    """

    def __init__(self, net: GRU) -> None:
        super().__init__(net)
        self._gru = net
        self._past: tuple[Tensor, Tensor, Tensor] | None = None

    def _extended(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self._past is None:
            start = x.new_zeros(len(x), self._gru.cell.hidden_size)
            return start, x.unsqueeze(1), torch.zeros_like(x[:, :1], dtype=torch.bool)
        start, past, begins = self._past
        return start, torch.cat([past, x.unsqueeze(1)], 1), begins

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one step; see `Body.forward`."""
        start, xs, begins = self._extended(x)
        output: Tensor
        output, first = self._gru(xs, start, begins)
        self._output = output
        begins = torch.cat([begins, torch.zeros_like(begins[:, :1])], 1)
        full = xs.shape[1] == self._gru.window
        self._past = (first, xs[:, 1:], begins[:, 1:]) if full else (start, xs, begins)
        return output.detach()

    @torch.no_grad()
    def ahead(self, x: Tensor) -> Tensor:
        """Return the output at the next input; see `Body.ahead`."""
        start, xs, begins = self._extended(x)
        output: Tensor = self._gru(xs, start, begins)[0]
        return output

    def forget(self, mask: Tensor | None = None) -> None:
        """Begin new episodes with the next step; see `Body.forget`."""
        if mask is None or self._past is None:
            self._past = None
        else:
            start, past, begins = self._past
            self._past = start, past, torch.cat([begins[:, :-1], begins[:, -1:] | mask[:, None]], 1)

    def another(self) -> GRUBody:
        """Return one with its own state; see `Body.another`."""
        return GRUBody(self._gru)

    def state(self) -> dict[str, Tensor]:
        """Return what is carried; see `Body.state`."""
        return {} if self._past is None else dict(zip(("start", "past", "begins"), self._past, strict=True))

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self._output = None
        self._past = (state["start"], state["past"], state["begins"]) if state else None
