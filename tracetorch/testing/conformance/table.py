"""The rows of the table for a neuron of a user's own."""

from __future__ import annotations

from tracetorch.neurons import Readout
from tracetorch.testing.conformance import (
    cascade,
    currents,
    depth,
    linearity,
    one_layer,
    readouts,
    recurrence,
    splits,
    unrolled,
)
from tracetorch.testing.conformance.case import Case
from tracetorch.testing.conformance.kind import Factory, Kind, Presynaptic

PARTS = (
    one_layer,
    readouts,
    recurrence,
    depth,
    cascade,
    splits,
    linearity,
    unrolled,
)


def for_neuron(
    factory: Factory, *, name: str = "a neuron", presynaptic: Presynaptic = "impossible"
) -> tuple[Case, ...]:
    """Return the rows of the table that go by a neuron's step, for one of a user's own.

    Args:
        factory: gives a new neuron for units of a shape, with everything learned that can be learned.
        name: what the cases call it.
        presynaptic: "exact" if its blocks A and B are the same for all units and steps, so that one trace per input
            represents it; rules that keep one must raise otherwise.

    Returns:
        The cases; run each with `run_case`.

    Example:
        >>> import tracetorch as tt
        >>> from tracetorch.testing import conformance
        >>> cases = conformance.for_neuron(lambda unit: tt.LIF(half_life=tt.Learnable(5.0)), presynaptic="exact")
        >>> conformance.run_case(cases[0]).failures
        ()
    """
    sample = factory((1,))
    k = Kind(name, factory, presynaptic, spikes=not isinstance(sample, Readout))
    parts = PARTS if len(sample.currents) == 1 else (currents,)
    return tuple(case for part in parts for case in part.for_kind(k))
