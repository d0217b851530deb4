"""Triton kernels for CUDA devices: one walk through a window per unit, compiled for the neuron's own step."""

from tracetorch.ops.triton.load import why_not
from tracetorch.ops.triton.run import run_forward, run_reverse

__all__ = ["run_forward", "run_reverse", "why_not"]
