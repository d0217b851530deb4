"""The depth table: what a run yields, what the table makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import depth, lines


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depth, "RULES", ("bptt", "cascade", "sltt"))
        return list(depth.run("bptt", 2, 0, 2))


def test_a_run_audits_each_rule_at_each_check_and_scores(rows: list[dict]) -> None:
    audits = [row for row in rows if row["kind"] == "audit"]
    assert {(row["rule"], row["iteration"]) for row in audits} >= {("cascade", 0), ("sltt", 2), ("bptt", 1)}
    assert rows[-1]["kind"] == "score"
    for row in audits:
        assert len(row["cosine"]) == len(row["norm_ratio"]) == 3
        if row["rule"] == "bptt":
            assert row["cosine"] == pytest.approx([1.0] * 3)
        if row["iteration"] == 0:
            assert row["silent"] == row["saturated"] == [0, 0]  # else its cosines mean nothing


def test_the_table_has_mean_and_worst(rows: list[dict]) -> None:
    cosines = [row["cosine"][0] for row in rows if row.get("rule") == "sltt"]
    assert f"| sltt | {sum(cosines) / len(cosines):.3f} ({min(cosines):.3f}) | – | – |" in depth.table(rows, own=False)
    assert depth.lowest(rows, "cascade", own=True) == {}
    assert "1 seeds" in depth.scores(rows)
    assert "| cascade | " in depth.by_layer(rows, 2)


def test_the_figure(rows: list[dict], tmp_path: Path) -> None:
    depth.draw(rows, tmp_path / "depth.png")
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")


def test_the_rows_of_the_repository_are_whole() -> None:
    rows = lines.read(depth.ROWS)
    assert {row["kind"] for row in rows} <= {"audit", "score"}
    for row in rows:
        if row["kind"] == "audit" and row["rule"] == "bptt":
            assert min(row["cosine"]) > 0.99999
