"""A recurrent network of the ordinary kind, to compare with: a GRU with truncated backpropagation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracetorch.rl.streams import Carrying


class WindowedGRU(Carrying):
    """Run a GRU over the last steps at each step, so that its gradient is that of truncated backpropagation.

    It keeps the last inputs and the hidden state from before them; a step runs the cell over all of them again from
    that state. A backward pass at each step then reaches so many steps back, and no further. Memory: the inputs, one
    hidden state, and during a step what autograd keeps for `window` cells (see `window_for`).

    Args:
        inputs: number of inputs.
        hidden: number of units.
        outputs: number of outputs, of a linear readout.
        window: number of steps that credit reaches back, the present one included.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = tt.rl.WindowedGRU(3, 4, 2, window=5)
        >>> net(torch.ones(1, 3)).shape
        torch.Size([1, 2])
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, *, window: int) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"window must be at least 1 step, got {window}")
        self.cell = nn.GRUCell(inputs, hidden)
        self.readout = nn.Linear(hidden, outputs)
        self.window = window

    @staticmethod
    def window_for(numbers: int, inputs: int, hidden: int) -> int:
        """Return the longest window whose kept activations are no more than so many numbers.

        Args:
            numbers: how many numbers the traces of another network hold.
            inputs: number of inputs.
            hidden: number of units: three gates, a candidate's recurrent part, and the state are kept of each step.

        Returns:
            The window, at least 1.
        """
        return max(1, numbers // (inputs + 5 * hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one step, `[B, inputs] -> [B, outputs]`."""
        if self.carried is None:
            self.carried = (x.new_zeros(len(x), self.cell.hidden_size), x.new_zeros(len(x), 0, x.shape[-1]))
        start, past = self.carried
        steps = torch.cat([past, x.detach().unsqueeze(1)], 1)
        h = start
        for t in range(steps.shape[1]):
            h = self.cell(steps[:, t], h)
            if t == 0:
                first = h.detach()
        full = steps.shape[1] == self.window
        self.carried = (first, steps[:, 1:]) if full else (start, steps)
        out: Tensor = self.readout(h)
        return out
