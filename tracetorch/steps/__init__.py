"""Single steps of dense layers by compiled kernels: what they serve, their memory, and their node of autograd."""

from tracetorch.steps.cell import Cell
from tracetorch.steps.guards import Entry, Guards, entry, hooked, values_of
from tracetorch.steps.part import Part, unfit, unfit_blocks, unfit_neuron, unfit_tensors, why_not
from tracetorch.steps.program import Program
from tracetorch.steps.single import first_again, run_single

__all__ = [
    "Cell",
    "Entry",
    "Guards",
    "Part",
    "Program",
    "entry",
    "first_again",
    "hooked",
    "run_single",
    "unfit",
    "unfit_blocks",
    "unfit_neuron",
    "unfit_tensors",
    "values_of",
    "why_not",
]
