"""The engine: one layer over one window, as pure functions of what the layer is and what it carries."""

from tracetorch.engine.core import Core, Peers, Place, Seen
from tracetorch.engine.restore import fitted, measured, require_types
from tracetorch.engine.rows import blank, merge, select
from tracetorch.engine.run import Result, carry, run
from tracetorch.engine.spec import Spec, require_finite_input
from tracetorch.engine.state import LayerState, OpenWindow, begin, rewired

__all__ = [
    "Core",
    "LayerState",
    "OpenWindow",
    "Peers",
    "Place",
    "Result",
    "Seen",
    "Spec",
    "begin",
    "blank",
    "carry",
    "fitted",
    "measured",
    "merge",
    "require_finite_input",
    "require_types",
    "rewired",
    "run",
    "select",
]
