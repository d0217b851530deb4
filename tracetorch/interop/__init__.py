"""Networks of other programs in, and networks for other programs out."""

from tracetorch.interop.discretisation import Discretisation, Euler, Exponential
from tracetorch.interop.errors import NotCarriedOverError
from tracetorch.interop.networks import from_norse, from_snntorch, from_spikingjelly
from tracetorch.interop.nir import from_nir, reset_difference, to_nir
from tracetorch.interop.scale import Scale

__all__ = [
    "Discretisation",
    "Euler",
    "Exponential",
    "NotCarriedOverError",
    "Scale",
    "from_nir",
    "from_norse",
    "from_snntorch",
    "from_spikingjelly",
    "reset_difference",
    "to_nir",
]
