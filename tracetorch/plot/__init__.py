"""Draw what a network does and how it learns: figures that matplotlib renders without a screen.

Every function returns a ``matplotlib.figure.Figure`` that belongs to no window and to no global list: save it with
`save`, show it in a notebook by leaving it as a cell's last line, or draw on its axes further. matplotlib is optional:
the extra ``plot``.
"""

from tracetorch.plot.comparison import comparison
from tracetorch.plot.cosines import cosines
from tracetorch.plot.curves import curves, learning_curve
from tracetorch.plot.frames import frames
from tracetorch.plot.half_lives import half_lives
from tracetorch.plot.psychometric import psychometric, wilson
from tracetorch.plot.raster import raster
from tracetorch.plot.style import COLOURS, dress, label, legend, new_figure, require_matplotlib, rule_styles, save
from tracetorch.plot.traces import traces

__all__ = [
    "COLOURS",
    "comparison",
    "cosines",
    "curves",
    "dress",
    "frames",
    "half_lives",
    "label",
    "learning_curve",
    "legend",
    "new_figure",
    "psychometric",
    "raster",
    "require_matplotlib",
    "rule_styles",
    "save",
    "traces",
    "wilson",
]
