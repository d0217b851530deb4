"""Single steps of dense layers by compiled kernels: what they serve, their memory, and their node of autograd."""

from tracetorch.steps.cell import Cell
from tracetorch.steps.part import Part, unfit, unfit_blocks, unfit_neuron, unfit_tensors, why_not
from tracetorch.steps.program import Program
from tracetorch.steps.single import first_again, run_single

__all__ = [
    "Cell",
    "Part",
    "Program",
    "first_again",
    "run_single",
    "unfit",
    "unfit_blocks",
    "unfit_neuron",
    "unfit_tensors",
    "why_not",
]
