"""Single steps of dense layers by compiled kernels: what they serve, their memory, and their node of autograd."""

from tracetorch.steps.cell import Cell
from tracetorch.steps.part import Part, unfit
from tracetorch.steps.single import run_single

__all__ = ["Cell", "Part", "run_single", "unfit"]
