"""Run the table of what is exact and what is not."""

from __future__ import annotations

import pytest
from conformance.table import CASES

from tracetorch.testing.conformance import Case, run_case


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in CASES])
def test_case(case: Case) -> None:
    run_case(case)
