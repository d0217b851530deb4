"""Slow: the accuracies that the README states, each trained from scratch. Run with `pytest -m slow tests/accuracy`."""

import os
import statistics
from pathlib import Path

import pytest

from tracetorch.train.compare import Compared, compare
from tracetorch.train.tasks import TASKS

pytestmark = pytest.mark.slow
needs_data = pytest.mark.skipif(
    not os.environ.get("TRACETORCH_DATA"), reason="TRACETORCH_DATA names no folder with the recordings"
)


def run(tmp_path: Path, task: str, rules: list[str], seeds: int, **options: object) -> dict[str, list[Compared]]:
    found: dict[str, list[Compared]] = {rule: [] for rule in rules}
    for result in compare(TASKS[task](**options), rules, folder=tmp_path, seeds=range(seeds)):
        found[result.rule].append(result)
    return found


def mean(results: list[Compared], score: str) -> float:
    return statistics.mean(r.scores[score] for r in results)


def test_clicks_reach_99_percent_of_the_ideal_observer(tmp_path: Path) -> None:
    found = run(tmp_path, "clicks", ["trace", "ottt", "eprop"], 5)
    for rule, results in found.items():
        assert mean(results, "of_observer") >= 0.99, rule


def test_clicks_with_half_lives_to_be_learned_are_far_above_frozen(tmp_path: Path) -> None:
    found = run(tmp_path, "clicks", ["frozen", "eprop", "trace"], 5, **TASKS["clicks"].presets["hard"])
    for rule in ("eprop", "trace"):
        assert mean(found[rule], "of_observer") >= 0.99
        assert mean(found[rule], "accuracy_hard") >= mean(found["frozen"], "accuracy_hard") + 0.05


@needs_data
def test_mnist_reaches_98_percent_and_bptt(tmp_path: Path) -> None:
    found = run(tmp_path, "mnist", ["trace", "bptt"], 3)
    assert mean(found["trace"], "accuracy") >= 0.98
    assert mean(found["trace"], "accuracy") >= mean(found["bptt"], "accuracy") - 0.003


@needs_data
def test_the_ecg_stream_is_flat_in_memory(tmp_path: Path) -> None:
    (result,) = run(tmp_path, "ecg", ["trace"], 1)["trace"]
    assert result.scores["rss_growth_mb"] < 5
    assert result.scores["balanced accuracy"] > 0.9
