"""Names that the loaders of all kernels put into their templates, with values that let tools read them."""

from __future__ import annotations

from typing import Any

S: int = 1
"""Number of state variables."""
P: int = 2
"""Number of parameters per unit."""
COUNTED: bool = True
"""Whether the neuron has a counter."""
TRACED: bool = True
"""Whether the forward carries sensitivities."""
HISTORY: bool = True
"""Whether the forward keeps their sum after every step, and the reverse pass the states' cotangents."""
LINKED: bool = True
"""Whether the reverse pass carries cotangents from step to step."""
SENT: bool = True
"""Whether the reverse pass keeps what is sent below."""


def step(s: Any, c: Any, i: Any, p: Any) -> Any:
    """Advance one unit by one step and return its derivatives; the neuron brings it."""
    raise NotImplementedError
