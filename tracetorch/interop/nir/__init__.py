"""The Neuromorphic Intermediate Representation, both ways."""

from tracetorch.interop.nir.export import to_nir
from tracetorch.interop.nir.imports import from_nir
from tracetorch.interop.nir.resets import reset_difference

__all__ = ["from_nir", "reset_difference", "to_nir"]
