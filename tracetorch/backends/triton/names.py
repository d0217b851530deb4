"""Names that the loader puts into the kernel template, with values that let tools read it."""

from __future__ import annotations

from typing import Any

tl: Any = None
"""The language."""
F: Any = None
"""Scalar type of states and traces."""
BLOCK: int = 128
"""Number of units that a program scans; rows of the batch lie one after the other."""
AHEAD: int = 4
"""Number of steps by which loads run ahead."""
CARRIED: int = 1
"""Number of values per unit that a kernel reads before the first step and carries from step to step."""
SAVED: int = 1
"""Number of states and counters."""
STATES: int = 1
"""Number of states."""
PARAMETERS: int = 2
"""Number of parameters that the step reads."""
COEFFICIENTS: int = 0
"""Number of coefficients: of the filter, then of constant blocks."""
GRADIENTS: int = 0
"""Number of parameters whose gradients are formed."""
RECORD: bool = False
"""Whether the forward scan writes the states and counters before each step, instead of all else."""
TRACED: bool = False
"""Whether the forward scan carries sensitivities on."""
LINKED: bool = True
"""Whether the reverse pass carries cotangents from step to step through the states."""
EXTRA: bool = False
"""Whether outputs have cotangents that do not pass the filter."""
BELOW: bool = False
"""Whether the reverse pass returns `psi L`."""


def _absent(*arguments: Any) -> Any:
    raise NotImplementedError


advanced = credited = _absent
