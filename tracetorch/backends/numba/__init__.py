"""The CPU backend: kernels that Numba compiles for each neuron's own step. Numba is imported at the first use."""

from tracetorch.backends.numba.scan import Numba, backend, why_not
from tracetorch.backends.numba.tape import NumbaTape
from tracetorch.backends.numba.tuning import Tuning

__all__ = ["Numba", "NumbaTape", "Tuning", "backend", "why_not"]
