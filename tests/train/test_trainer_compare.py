"""Comparisons: their summary, their files, what they refuse."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from train.toy import Toy

from tracetorch.train import Compared, compare, make, summarise
from tracetorch.train.compare import write_results
from tracetorch.train.drawing import comparison_figure
from tracetorch.train.worker import Job, read_job, work, write_job

RUNS = [
    Compared("trace", 0, {"accuracy": 0.9, "other": 1.0}, 1.0, 300.0, 3.0, ([1, 2], [0.5, 0.9])),
    Compared("trace", 1, {"accuracy": 0.8, "other": 1.0}, 3.0, 310.0, 5.0, ([1, 2, 3], [0.5, 0.7, 0.8])),
    Compared("sltt", 0, {"accuracy": 0.5}, 1.0, 300.0, math.nan, ([1], [0.5])),
]


def test_summary_has_mean_and_standard_deviation() -> None:
    trace, sltt = summarise(RUNS)
    assert trace["seeds"] == 2
    assert trace["scores"]["accuracy"]["mean"] == pytest.approx(0.85)
    assert trace["scores"]["accuracy"]["sd"] == pytest.approx(0.1 / math.sqrt(2))
    assert (trace["seconds"], trace["peak_mb"], trace["training_mb"]) == (2.0, 305.0, 4.0)
    assert math.isnan(sltt["scores"]["accuracy"]["sd"])


def test_a_goal_that_some_seeds_never_reach_leaves_a_summary() -> None:
    runs = [Compared("trace", s, {"reached": math.nan}, 1.0, 300.0, 3.0, ([1], [0.5])) for s in range(3)]
    reached = summarise(runs)[0]["scores"]["reached"]
    assert math.isnan(reached["mean"]) and math.isnan(reached["sd"])


def test_results_are_strict_json(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", "accuracy", RUNS)
    content = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert content["metric"] == "accuracy"
    assert content["summary"][1]["scores"]["accuracy"]["sd"] is None
    assert len(content["runs"]) == 3


def test_figure_has_learning_curves_above_three_measures() -> None:
    figure = comparison_figure(RUNS, metric="accuracy", title="toy")
    assert sorted(axes.get_xlabel() for axes in figure.axes) == [
        "accuracy",
        "iteration",
        "peak memory (MB)",
        "seconds",
    ]


def test_a_worker_writes_its_result(tmp_path: Path) -> None:
    task = make("digits", {"steps": 4, "eval_every": 2, "hidden": 8, "batch_size": 4})
    job = Job("digits", "frozen", 3, task.options())
    write_job(job, tmp_path / "run")
    assert read_job(tmp_path / "run") == job
    result = work(job, tmp_path / "run")
    assert result == json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["rule"], result["seed"], result["iterations"]) == ("frozen", 3, 4)
    assert result["peak_mb"] > 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rules": []}, "at least one rule"),
        ({"seeds": []}, "at least one rule and one seed"),
        ({"processes": 0}, "must be at least 1"),
        ({"task": Toy()}, "does not come with the library"),
        ({"rules": ["nope"]}, "no rule 'nope'"),
    ],
)
def test_what_cannot_be_compared_is_told(change: dict, message: str, tmp_path: Path) -> None:
    given = {"task": make("digits"), "rules": ["trace"], "folder": tmp_path / "runs", **change}
    with pytest.raises(ValueError, match=message):
        list(compare(given.pop("task"), given.pop("rules"), **given))
    assert not (tmp_path / "runs").exists()
