"""Names that a compiler puts into `steps`, with values that let tools read that file."""

from __future__ import annotations

from typing import Any

ZERO: Any = 0.0
"""Zero of the scalar type."""
ONE: Any = 1.0
"""One of the scalar type."""
SCALE: Any = 1.0
"""First number of the surrogate."""
WIDTH: Any = 1.0
"""Second number of the surrogate."""
VALUE: Any = 0.0
"""Value to which a hard reset sets the membrane."""
SILENT: Any = 0.0
"""Number of silent steps after a spike."""
NORMALIZED: bool = False
"""Whether drives are scaled by one minus the decay."""
DECAYED: bool = True
"""Whether the reset comes before the decay."""
GRADIENT: bool = False
"""Whether the reset keeps its derivative."""
SOFT: bool = True
"""Whether the reset subtracts the threshold."""
HARD: bool = False
"""Whether the reset sets a value."""
REFRACTORY: bool = False
"""Whether there are silent steps after a spike."""


def surrogate(x: Any) -> Any:
    """Return the surrogate's derivative: the function of this name is one of those in `steps`."""
    raise NotImplementedError


def where(condition: Any, a: Any, b: Any) -> Any:
    """Return `a` where the condition holds and `b` elsewhere."""
    raise NotImplementedError


def maximum(a: Any, b: Any) -> Any:
    """Return the larger of two."""
    raise NotImplementedError


def absolute(x: Any) -> Any:
    """Return the absolute value."""
    raise NotImplementedError


def exp(x: Any) -> Any:
    """Return the exponential function."""
    raise NotImplementedError
