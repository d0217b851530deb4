"""Names that the loader puts into the template of the kernels, with values that let tools read it."""

from __future__ import annotations

from typing import Any

import numpy as np

F: Any = np.float32
"""Scalar type."""
U: int = 64
"""Number of units that are computed at once."""
STATES: int = 1
"""Number of states."""
COUNTERS: int = 0
"""Number of counters."""
CURRENTS: int = 1
"""Number of currents per unit."""
PARAMETERS: int = 2
"""Number of parameters."""
FILTERS: int = 0
"""Number of states of the filter."""
GRADIENTS: int = 0
"""Number of parameters whose gradients are formed."""
FIRST = SECOND = THIRD = STATE = COUNT = LAM = LEVEL = PARAM = GRAD = ROWS = 0
"""Where rows of a block begin; see `Sizes.places`."""
EVENTS: bool = True
"""Whether the forward forms the currents from inputs' events; its drive is the current otherwise."""
RECURRENT: bool = True
"""Whether the forward adds currents from the last outputs' events."""
TRACED: bool = True
"""Whether the forward carries sensitivities on."""
LINKED: bool = True
"""Whether the reverse pass carries cotangents from step to step through the states."""
EXTRA: bool = True
"""Whether outputs have cotangents that do not pass the filter."""
FED: bool = True
"""Whether outputs have cotangents through the recurrent synapse."""
BELOW: bool = True
"""Whether the reverse pass returns `psi L`."""


def _absent(*arguments: Any) -> Any:
    raise NotImplementedError


jit = advanced = again = credit = _absent
