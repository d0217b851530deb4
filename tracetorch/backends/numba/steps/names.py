"""Names that the loader puts into the step program's templates, with values that let tools read them."""

from __future__ import annotations

from typing import Any

import numpy as np

F: Any = np.float32
"""Scalar type."""
TINY: Any = 0.0
"""Numbers up to which a trace is set to zero, so that none ends in subnormal numbers, which are slow."""
SUMS: dict[str, Any] = {}
"""Options of the compiler for sums whose order does not matter."""


def _absent(*arguments: Any, **options: Any) -> Any:
    raise NotImplementedError


njit = jit = get = put = put64 = place = put_place = col = set_col = reals = _absent
stepped = run_units = run_begin = run_give = _absent
