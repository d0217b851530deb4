"""The runner of rules on tasks: it resumes, tunes with seeds of its own, and says what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import lines, rules
from benchmarks.rules import Plan, markdown, missing, read_task, work

BEST = {"cascade": 3.0, "sltt": 0.3, "ottt": 1.0}


def plan(factors: tuple[float, ...] = (0.3, 1.0, 3.0), names: tuple[str, ...] = ("cascade", "sltt")) -> Plan:
    return Plan("digits:hidden=16", read_task("digits:hidden=16", None, 4), names, range(2), factors, range(1000, 1002))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Runs that score best with a known factor; `ottt` fails."""
    seen: list[Any] = []

    def run(self: Plan, key: Any) -> dict[str, Any]:
        seen.append((key["kind"], key["rule"], key["factor"], key["seed"]))
        if key["rule"] == "ottt":
            return {**key, "metric": "accuracy", "error": "cannot"}
        score = 1.0 - abs(key["factor"] - BEST[key["rule"]]) / 10 + key["seed"] / 1e5
        return {**key, "metric": "accuracy", "scores": {"accuracy": score}, "seconds": 1.0}

    monkeypatch.setattr(Plan, "run", run)
    return seen


def test_each_rule_has_its_own_best_factor_from_seeds_that_the_table_lacks(runs: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    list(work(plan(), path, 1))
    tune, table = ([r for r in runs if r[0] == kind] for kind in ("tune", "table"))
    assert len(tune) == 2 * 3 * 2
    assert {seed for *_, seed in tune} == {1000, 1001}
    assert {(rule, factor) for _, rule, factor, _ in table} == {("cascade", 3.0), ("sltt", 0.3)}
    assert {seed for *_, seed in table} == {0, 1}
    said = markdown(plan(), lines.read(path))
    assert "| cascade | 1.0000 ± 0.0000 | – | 2 of 2 | 3 |" in said


def test_it_goes_on_where_it_stopped_and_drops_a_torn_line(runs: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    list(work(plan(), path, 1))
    whole = path.read_bytes()
    first = list(runs)
    runs.clear()
    list(work(plan(), path, 2))
    assert runs == []
    path.write_bytes(whole[:-20])
    rows = lines.read(path)
    assert path.read_bytes() == whole[: whole[:-1].rindex(b"\n") + 1]
    assert len(missing([*plan().tuning(), *plan().table(rows)], rows)) == 1
    list(work(plan(), path, 1))
    assert runs == first[-1:]
    assert [row["seed"] for row in lines.read(path)] == [json.loads(line)["seed"] for line in whole.splitlines()]


def test_rows_say_how_they_came_about(runs: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    list(work(plan((1.0,)), path, 1))
    for row in lines.read(path):
        assert {"command", "date", "versions", "threads", "seed", "options", "factor"} <= set(row)
        assert "seed" not in row["options"]
        assert row["options"]["hidden"] == 16


def test_a_rule_that_fails_is_told_and_not_run_again(runs: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    mine = plan(names=("cascade", "ottt"))
    list(work(mine, path, 1))
    assert all(kind == "tune" for kind, rule, *_ in runs if rule == "ottt")
    runs.clear()
    list(work(mine, path, 1))
    assert runs == []
    assert "| ottt | refused: cannot |" in markdown(mine, lines.read(path))


def test_another_setting_is_another_run(runs: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    list(work(plan((1.0,)), path, 1))
    longer = Plan("digits:hidden=16", read_task("digits:hidden=16", None, 5), ("cascade",), range(2))
    assert len(missing(longer.table(lines.read(path)), lines.read(path))) == 2


def test_a_damaged_line_in_the_middle_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(ValueError, match="line 2"):
        lines.read(path)


def test_the_last_row_of_a_key_counts() -> None:
    rows = [{"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 1, "b": 3}, {"b": 4}]
    assert [row["b"] for row in lines.latest(rows, "a")] == [3, 2]


def test_words_of_tasks() -> None:
    hard = read_task("clicks:hard:hidden=32", None, 7)
    assert (hard.options()["hidden"], hard.options()["steps"]) == (32, 7)
    assert hard.options()["half_life"] == type(hard).presets["hard"]["half_life"]
    with pytest.raises(ValueError, match="no option 'nope'"):
        read_task("digits:nope=1", None, None)


def test_one_run_is_one_process_of_its_own() -> None:
    mine = Plan("digits", read_task("digits:hidden=8:batch_size=4", None, 2), ("sltt",), range(1))
    row = rules.Plan.run(mine, mine.key("table", "sltt", 3.0, 0))
    assert row["lr"] == pytest.approx(3 * mine.task.options()["lr"])
    assert 0.0 <= row["scores"]["accuracy"] <= 1.0
