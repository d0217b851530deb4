"""Names that the loader puts into the fused kernels' templates, with values that let tools read them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracetorch.ops.names import COUNTED, HISTORY, LINKED, SENT, TRACED, P, S, step

F: Any = np.float32
"""Scalar type."""
U: int = 64
"""Number of units that are computed at once."""
EVENTS: bool = True
"""Whether the input is a synapse's, walked by its events; it is a current otherwise."""
RECORD: bool = True
"""Whether the forward keeps the currents."""
STATES: bool = True
"""Whether the forward keeps the states before each step."""
FAST: dict[str, Any] = {}
"""Options of the compiler."""

__all__ = [
    "COUNTED",
    "EVENTS",
    "FAST",
    "HISTORY",
    "LINKED",
    "RECORD",
    "SENT",
    "STATES",
    "TRACED",
    "F",
    "P",
    "S",
    "U",
    "step",
]
