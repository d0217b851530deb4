"""A part of the table on the compiled CPU kernels: every claim, neuron, rule and network of it at least once.

All of it runs by `pytest tests/conformance --backend numba`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conformance.networks import NETWORKS, RULES
from conformance.neurons import NEURONS
from conformance.table import CASES

import tracetorch as tt
from tracetorch.backends import numba
from tracetorch.testing import conformance

WORDS = (*(k.name for k in NEURONS), *NETWORKS, *RULES, *tt.rules.PRESETS)


def words(case: conformance.Case) -> set[str]:
    """Return what a case stands for: its claim, and the neurons, rules and networks that its name names."""
    return {case.claim} | {word for word in WORDS if f" {word}," in f" {case.name},".replace(" to ", ", ")}


def reduced() -> Iterator[conformance.Case]:
    """Yield cases, those first that add most, until all words have been met."""
    left = {case.id: (case, words(case)) for case in CASES}
    missing = set().union(*(found for _, found in left.values()))
    while missing:
        name = max(left, key=lambda n: len(left[n][1] & missing))
        case, found = left.pop(name)
        missing -= found
        yield case


REDUCED = tuple(reduced())


def test_the_part_names_every_claim_and_neuron() -> None:
    met = set().union(*map(words, REDUCED))
    assert {case.claim for case in CASES} <= met
    assert {k.name for k in NEURONS} <= met
    assert set(tt.rules.PRESETS) <= met


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in REDUCED])
def test_case_on_numba(case: conformance.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    if numba.why_not():
        pytest.skip(numba.why_not())
    monkeypatch.setattr(numba.backend(), "tuning", numba.Tuning(small=0, few=0, dense=2.0))
    conformance.run_case(case)
