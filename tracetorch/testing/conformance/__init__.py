"""What is exact and what is not, as cases that run, for a neuron of your own.

`for_neuron` makes the rows for it, negative controls among them; `run_case` runs one and raises where it does not hold.
The whole table, with the library's own neurons, networks and rules, is in `tests/conformance`.
"""

from tracetorch.testing.conformance.case import Case, ConformanceError, Finding, Outcome, run_case
from tracetorch.testing.conformance.kind import Kind
from tracetorch.testing.conformance.table import for_neuron

__all__ = ["Case", "ConformanceError", "Finding", "Kind", "Outcome", "for_neuron", "run_case"]
