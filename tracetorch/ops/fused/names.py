"""Names that the loader puts into the kernel templates, with values that let tools read them."""

from __future__ import annotations

from typing import Any

import numpy as np

F: Any = np.float32
"""Scalar type."""
U: int = 64
"""Number of units that are computed at once."""
S: int = 1
"""Number of state variables."""
P: int = 2
"""Number of parameters per unit."""
EVENTS: bool = True
"""Whether the input is a synapse's, walked by its events; it is a current otherwise."""
RECORD: bool = True
"""Whether the forward keeps the currents."""
STATES: bool = True
"""Whether the forward keeps the states before each step."""
TRACED: bool = True
"""Whether the forward carries sensitivities."""
HISTORY: bool = True
"""Whether the forward keeps their sum after every step, and the reverse pass the states' cotangents."""
LINKED: bool = True
"""Whether the reverse pass carries cotangents from step to step."""
SENT: bool = True
"""Whether the reverse pass keeps what is sent below."""
FAST: dict[str, Any] = {}
"""Options of the compiler."""


def step(s: Any, c: Any, i: Any, p: Any) -> Any:
    """Advance one unit by one step and return its derivatives; the neuron brings it."""
    raise NotImplementedError
