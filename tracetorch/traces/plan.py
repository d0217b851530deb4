"""A plan: a rule resolved for one layer, with all that depends on the layer's neuron and place decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Storage = Literal["graph", "none", "pre", "full", "factor"]
Credit = Literal["window", "psi", "gain", "trace"]


@dataclass(frozen=True)
class Plan:
    """Say what one layer traces and sends below.

    Args:
        storage: how the weights' credit is kept.
        input: what is sent to the layer below, times the learning signal.
        sequence: whether one scan is the whole sequence.
        traces_neuron: whether biases and neuron parameters are credited with the past.
        detach_reset: whether the presynaptic trace leaves the reset's own derivative out.
        approximate: whether the presynaptic trace's blocks are not the neuron's true ones.
        filtered: whether the output passes through a filter before the learning signal meets it.
        uniform: whether the factor rule's averages weigh all steps alike.
        buckets: number of decays with which inputs are averaged.
    """

    storage: Storage
    input: Credit
    sequence: bool = False
    traces_neuron: bool = True
    detach_reset: bool = False
    approximate: bool = False
    filtered: bool = False
    uniform: bool = False
    buckets: int = 1

    def rows(self, size: int, *, recurrent: bool) -> int:
        """Return the number of rows that carry cotangents from window to window.

        Args:
            size: S, the number of states.
            recurrent: whether the layer has a recurrent synapse.

        Returns:
            S, twice where the weights go back by blocks of their own; one for the filter; one for the last output
            where it is fed back inside the window.
        """
        return size * (2 if self.approximate else 1) + int(self.filtered) + int(self.window_credit and recurrent)

    @property
    def carries(self) -> bool:
        """Whether a window without an event in it costs nothing but what is carried forward."""
        if self.window_credit or self.sequence or self.storage in ("graph", "full") or self.approximate:
            return False
        return self.storage == "factor" or not self.filtered

    @property
    def window_credit(self) -> bool:
        """Whether credit inside the window is autograd's own."""
        return self.input == "window"


@dataclass(frozen=True)
class Values:
    """Hold the numbers a plan needs at one call; they move where decays are learned.

    Args:
        filter: decay of the output filter, `kappa` or `q`, per step; 0 for none.
        transition: the presynaptic trace's `A`, `[S, S]`, or None.
        drive: its `B`, `[S]`, or None.
        decays: decay of the input's average per unit, `[*unit]` or a scalar; None where there is no such average.
    """

    filter: Tensor | float = 0.0
    transition: Tensor | None = None
    drive: Tensor | None = None
    decays: Tensor | None = None
