"""Names that the loader puts into the step program's templates, with values that let tools read them."""

from __future__ import annotations

from typing import Any

import numpy as np

F: Any = np.float32
"""Scalar type."""
TINY: Any = 0.0
"""Numbers up to which a trace is set to zero, so that none ends in subnormal numbers, which are slow."""

TINIEST: Any = 0.0
"""The least normal number."""


def _absent(*arguments: Any) -> Any:
    raise NotImplementedError


jit = reassociated = get = put = put64 = place = put_place = col = set_col = _absent
stepped = run_units = run_begin = run_give = _absent
