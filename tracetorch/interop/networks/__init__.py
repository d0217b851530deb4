"""Networks of other programs, built as networks of this one."""

from tracetorch.interop.networks.norse import from_norse
from tracetorch.interop.networks.snntorch import from_snntorch
from tracetorch.interop.networks.spikingjelly import from_spikingjelly

__all__ = ["from_norse", "from_snntorch", "from_spikingjelly"]
