"""The table of hops: what a run yields, what the table makes of it."""

from __future__ import annotations

import pytest

from benchmarks import hops


def test_hops_come_nearer_to_bptt_and_the_table_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "HOPS", (0, 2))
    rows = list(hops.gradients(0.02, 0))
    none, two = rows
    assert none["input"] < two["input"] <= 1 and none["recurrent"] < two["recurrent"] <= 1
    assert f"| eprop:hops=2 | {two['input']:.3f} ({two['input']:.3f}) | – | – |" in hops.table(
        rows, "gradient", ("input",)
    )
