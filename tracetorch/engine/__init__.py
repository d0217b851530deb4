"""The engine: one layer over one window, as pure functions of what the layer is and what it carries."""

from tracetorch.engine.core import Core
from tracetorch.engine.restore import fitted, measured
from tracetorch.engine.run import Result, carry, run
from tracetorch.engine.spec import Spec, require_finite_input
from tracetorch.engine.state import LayerState, OpenWindow, begin

__all__ = [
    "Core",
    "LayerState",
    "OpenWindow",
    "Result",
    "Spec",
    "begin",
    "carry",
    "fitted",
    "measured",
    "require_finite_input",
    "run",
]
