"""Turn values into inputs over time: Bernoulli spikes, rows, constant currents, level crossings."""

from tracetorch.encoding.delta import DeltaModulation
from tracetorch.encoding.rate import bernoulli, constant
from tracetorch.encoding.rows import rows

__all__ = ["DeltaModulation", "bernoulli", "constant", "rows"]
