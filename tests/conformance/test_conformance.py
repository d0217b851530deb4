"""Run the table of what is exact and what is not."""

from __future__ import annotations

import pytest

from tracetorch.testing import conformance


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in conformance.CASES])
def test_case(case: conformance.Case) -> None:
    conformance.run_case(case)
