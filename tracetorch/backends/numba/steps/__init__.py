"""The step program: compiled single steps of dense layers, and of networks of them."""

from tracetorch.backends.numba.steps.layout import Sizes, width
from tracetorch.backends.numba.steps.load import Function, function, units

__all__ = ["Function", "Sizes", "function", "units", "width"]
