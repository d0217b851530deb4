"""A whole window of a network as a module without its own state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tracetorch.export.step import State, Step, step


class Window(nn.Module):
    """A window of a fixed number of steps, with the state going in and coming out.

    Made by `tt.export.window`.

    Args:
        one: one step.
        steps: number of steps, `T`.

    Attributes:
        names: the state's names, those of the step.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.LI(half_life=5)))
        >>> module, xs = tt.export.window(net, 10), torch.rand(20, 4, 3)
        >>> state = module.zeros(xs[:10])
        >>> for part in xs.split(10):
        ...     ys, state = module(part, state)
        >>> ys.shape
        torch.Size([10, 4, 2])
    """

    def __init__(self, one: Step, steps: int) -> None:
        super().__init__()
        self.one, self.steps, self.names = one, steps, one.names

    def forward(self, xs: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, State]:
        """Advance over a window.

        Args:
            xs: inputs, `[T, B, *in]`.
            state: what the layers carry, in the order of `names`, `[B, *unit]` each.

        Returns:
            The outputs, `[T, B, *out]`, and the state after the window.

        Raises:
            ValueError: if the window has another number of steps.
        """
        if xs.shape[0] != self.steps:
            raise ValueError(f"this window is of {self.steps} steps, the input of {xs.shape[0]}")
        ys, after = [], tuple(state)
        for x in xs.unbind(0):
            y, after = self.one(x, after)
            ys.append(y)
        return torch.stack(ys), after

    def zeros(self, xs: Tensor) -> State:
        """Return the state after a reset.

        Args:
            xs: a window, `[T, B, *in]`, whose values do not matter.

        Returns:
            The state, in the order of `names`.
        """
        return self.one.zeros(xs[0])

    def restored(self, saved: Mapping[str, Tensor]) -> State:
        """Return the state that a network had; see `Step.restored`.

        Args:
            saved: what `tt.get_state(net)` returned.

        Returns:
            The state, in the order of `names`.
        """
        return self.one.restored(saved)


def window(net: nn.Module, steps: int) -> Window:
    """Return a window of a network as a pure module, `(xs, state) -> (ys, state)`.

    The exported program has every step written out, so it grows with their number; `tt.export.step` called in a loop
    does not.

    Args:
        net: any module with layers in it, whose output is one tensor.
        steps: number of steps, `T`.

    Returns:
        The module; see `tt.export.step` for what is copied and what is refused.

    Raises:
        ValueError: if the number of steps is not positive.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(tt.Layer(torch.nn.Linear(3, 2), tt.LIF(half_life=5)))
        >>> xs = torch.ones(10, 1, 3)
        >>> module = tt.export.window(net, 10)
        >>> ys, state = module(xs, module.zeros(xs))
        >>> torch.equal(ys, tt.scan(net, xs))
        True
    """
    if steps < 1:
        raise ValueError(f"a window has at least one step, got {steps}")
    return Window(step(net), steps)
