"""Names that the loader puts into the kernel template, with values that let tools read it."""

from __future__ import annotations

from typing import Any

from tracetorch.ops.names import COUNTED, HISTORY, LINKED, SENT, TRACED, P, S, step

tl: Any = None
"""The language."""
F: Any = None
"""Scalar type of states and traces."""
BLOCK: int = 128
"""Number of units that a program walks; rows of the batch lie one after the other."""
AHEAD: int = 4
"""Number of steps by which loads run ahead."""
RECORD: bool = True
"""Whether the forward keeps the states before each step."""
LAST: bool = False
"""Whether the last output alone has a cotangent."""
fp64: Any = None
"""Type of an argument: a number of double precision."""

__all__ = [
    "AHEAD",
    "BLOCK",
    "COUNTED",
    "HISTORY",
    "LAST",
    "LINKED",
    "RECORD",
    "SENT",
    "TRACED",
    "F",
    "P",
    "S",
    "fp64",
    "step",
    "tl",
]
