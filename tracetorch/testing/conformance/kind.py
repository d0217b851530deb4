"""A neuron of a user's own, as the rows of the table take it, and the neurons that stand beside it in a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from tracetorch.neurons import LIF, HardReset, Learnable, Neuron, SoftReset, surrogates

Factory = Callable[[tuple[int, ...]], Neuron]
"""Gives a new neuron for units of a shape."""


Presynaptic = Literal["exact", "detached", "impossible"]
"""A presynaptic trace is exact; or exact once the reset is detached; or cannot represent the neuron."""


@dataclass(frozen=True)
class Kind:
    """A neuron of the table.

    Args:
        name: its name in the table.
        make: returns a new one for units of a shape.
        presynaptic: what one trace per input can do for it.
        detached: the same with its reset's gradient detached, where `presynaptic` is "detached".
        memory: whether its output depends on earlier steps.
        spikes: whether it is not a readout.

    Example:
        >>> import tracetorch as tt
        >>> from tracetorch.testing.conformance import Kind
        >>> Kind("LIF", lambda unit: tt.LIF(half_life=5), presynaptic="exact").make((3,)).state
        ('v',)
    """

    name: str
    make: Factory
    presynaptic: Presynaptic = "impossible"
    detached: Factory | None = None
    memory: bool = True
    spikes: bool = True


class Memoryless(Neuron):
    """Fire from the present current alone, so that D = 0."""

    threshold: Tensor

    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step."""
        return s.replace(v=0.5 * s.v + current), self.surrogate(current - self.threshold)


SHARED: dict[str, Any] = {"half_life": Learnable(4.0), "threshold": Learnable(1.1)}
SOFT = Kind("LIF soft", lambda unit: LIF(reset=SoftReset(), **SHARED), "exact")
HARD = Kind("LIF hard", lambda unit: LIF(reset=HardReset(), **SHARED, surrogate=surrogates.FastSigmoid(2.0)))
MEMORYLESS = Kind("Memoryless (a user's)", lambda unit: Memoryless(threshold=Learnable(1.0)), "exact", memory=False)
