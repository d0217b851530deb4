"""The GPU backend: kernels that Triton compiles for each neuron's own step. Triton is imported at the first use."""

from tracetorch.backends.triton.scan import Triton, backend
from tracetorch.backends.triton.support import why_not
from tracetorch.backends.triton.tape import TritonTape

__all__ = ["Triton", "TritonTape", "backend", "why_not"]
