"""The table of what is exact and what is not, as cases that run.

`CASES` holds every claim for every neuron, synapse and rule it names, with the negative controls among them;
`run_case` runs one and raises where it does not hold; `for_neuron` makes the rows for your own neuron.
"""

from tracetorch.testing.conformance.case import Case, ConformanceError, Finding, Outcome, run_case
from tracetorch.testing.conformance.neurons import NEURONS, Kind
from tracetorch.testing.conformance.table import CASES, for_neuron

__all__ = ["CASES", "NEURONS", "Case", "ConformanceError", "Finding", "Kind", "Outcome", "for_neuron", "run_case"]
