"""The table of what is exact and what is not: every claim, with its negative controls."""

from __future__ import annotations

from collections.abc import Iterator

from conformance import (
    cascade,
    definitions,
    depth,
    firing,
    linearity,
    moving,
    one_layer,
    plasticity,
    published,
    readouts,
    recurrence,
    signals,
    splits,
    unrolled,
)
from conformance.neurons import NEURONS, SEVERAL, TRIED

from tracetorch.testing.conformance import currents
from tracetorch.testing.conformance.case import Case
from tracetorch.testing.conformance.table import PARTS

FIXED = (
    one_layer,
    readouts,
    recurrence,
    depth,
    cascade,
    published,
    plasticity,
    signals,
    splits,
    linearity,
    unrolled,
    definitions,
    firing,
)
"""What is tried on networks of the library's own."""


def _all() -> Iterator[Case]:
    for part in (*PARTS, published, plasticity, signals, firing, moving):
        tried = TRIED.get(part.__name__.rpartition(".")[2])
        for k in NEURONS:
            if tried is None or k.name in tried:
                yield from part.for_kind(k)
    for k in SEVERAL:
        yield from currents.for_kind(k)
    for fixed in FIXED:
        yield from fixed.cases()


CASES: tuple[Case, ...] = tuple(_all())
"""Every claim, with its conditions, for every neuron, synapse and rule that it names."""
