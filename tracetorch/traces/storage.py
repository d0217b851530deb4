r"""Which storage a layer's eligibility takes, by the size that a full one would have.

The choice depends on the shapes of a layer and on what is above it, and not on the batch, so that a gradient does
not change with the number of rows beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tracetorch.traces.base import Context, Trace, WeightCredit
from tracetorch.traces.eligibility import Full
from tracetorch.traces.pairs import Paired, Pairs

BUDGET = 2**18
"""Numbers per row of the batch that a layer's full eligibility may take by default: 1 MiB in single precision."""
PAIRS = 10
"""Number of pairs where it would take more."""


@dataclass(frozen=True)
class Auto(WeightCredit):
    r"""Trace each weight where that takes no more numbers than a budget, else take pairs.

    .. math:: (S + M)\,I O \le \text{budget}

    with S states of the neuron, none where one trace per input is exact, and M of the filter above; for a convolution
    I O is its weights times its positions.

    Args:
        budget: numbers per row of the batch and layer.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.cascade().weight
        Auto(budget=262144)
    """

    budget: int = BUDGET
    per_unit = True

    def __post_init__(self) -> None:
        if isinstance(self.budget, bool) or not isinstance(self.budget, int) or self.budget < 0:
            raise ValueError(f"budget is a number of numbers per row and layer, at least 0, got {self.budget!r}")

    pairs = "auto"
    storage = "auto"

    def stored(self, trace: Trace) -> str:
        """Return in a few words what the layer of a trace stores."""
        return f"auto: {trace.kind.storage if isinstance(trace, Paired) else Full().storage}"

    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer."""
        states = 0 if context.neuron.is_constant() else len(context.neuron.state)
        states += 0 if context.filter is None else context.filter.states
        fits = states * context.entries <= self.budget or not context.shared
        choice = Full() if fits else Pairs(PAIRS)
        return choice.trace(context)
