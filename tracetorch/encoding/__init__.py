"""Turn values into inputs: Bernoulli spikes, rows, constant currents, level crossings, populations of units."""

from tracetorch.encoding.delta import DeltaModulation
from tracetorch.encoding.population import PopulationCode
from tracetorch.encoding.rate import bernoulli, constant
from tracetorch.encoding.rows import rows

__all__ = ["DeltaModulation", "PopulationCode", "bernoulli", "constant", "rows"]
