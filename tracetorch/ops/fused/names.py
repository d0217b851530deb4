"""Names that the loader puts into the kernel template, with values that let tools read it."""

from __future__ import annotations

from typing import Any

import numpy as np

F: Any = np.float32
"""Scalar type."""
S: int = 1
"""Number of state variables."""
P: int = 2
"""Number of parameters per unit."""
EVENTS: bool = True
"""Whether the input is a synapse's, walked by its events; it is a current otherwise."""
RECORD: bool = True
"""Whether states and currents are kept."""
TRACED: bool = True
"""Whether sensitivities and averages are carried (forward) or the surrogate kept (reverse)."""
FAST: dict[str, Any] = {}
"""Options of the compiler."""


def step(s: Any, c: Any, i: Any, p: Any) -> Any:
    """Advance one unit by one step and return its derivatives; the neuron brings it."""
    raise NotImplementedError
