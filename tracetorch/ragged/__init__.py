"""Windows whose rows begin, end, pause and begin again at steps of their own."""

from tracetorch.ragged.given import Options, given
from tracetorch.ragged.run import Network, run

__all__ = ["Network", "Options", "given", "run"]
