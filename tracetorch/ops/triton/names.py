"""Names that the loader puts into the kernel template, with values that let tools read it."""

from __future__ import annotations

from typing import Any

tl: Any = None
"""The language."""
F: Any = None
"""Scalar type of states and traces."""
S: int = 1
"""Number of state variables."""
P: int = 2
"""Number of parameters per unit."""
BLOCK: int = 128
"""Number of units that a program walks; rows of the batch lie one after the other."""
AHEAD: int = 4
"""Number of steps by which loads run ahead."""
COUNTED: bool = True
"""Whether the neuron has a counter."""
RECORD: bool = True
"""Whether the forward keeps the states before each step."""
TRACED: bool = True
"""Whether the forward carries sensitivities."""
HISTORY: bool = True
"""Whether the forward keeps their sum after every step, and the reverse pass the states' cotangents."""
LAST: bool = False
"""Whether the last output alone has a cotangent."""
LINKED: bool = True
"""Whether the reverse pass carries cotangents from step to step."""
SENT: bool = True
"""Whether the reverse pass keeps what is sent below."""
fp64: Any = None
"""Type of an argument: a number of double precision."""


def step(s: Any, c: Any, i: Any, p: Any) -> Any:
    """Advance units by one step and return their derivatives; the neuron brings it."""
    raise NotImplementedError
