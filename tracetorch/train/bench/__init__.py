"""Time and memory of this library on the user's machine; ``benchmarks/`` in the repository adds its rivals.

Every row runs in a process of its own, the rows take turns, and all of them get the same data, weights and neuron.
"""

from tracetorch.train.bench.figure import draw
from tracetorch.train.bench.measure import Effort, Place
from tracetorch.train.bench.results import Measured, Report, Table, read
from tracetorch.train.bench.rows import OWN, Library, Row
from tracetorch.train.bench.run import QUICK_EFFORT, run
from tracetorch.train.bench.settings import QUICK, WORKLOADS, Group, Network, Workload, chosen
from tracetorch.train.bench.tables import as_markdown

__all__ = [
    "OWN",
    "QUICK",
    "QUICK_EFFORT",
    "WORKLOADS",
    "Effort",
    "Group",
    "Library",
    "Measured",
    "Network",
    "Place",
    "Report",
    "Row",
    "Table",
    "Workload",
    "as_markdown",
    "chosen",
    "draw",
    "read",
    "run",
]
