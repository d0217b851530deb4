"""Slow: what learning from reward reaches, each agent from scratch. Run with `pytest -m slow tests/accuracy`."""

import os
import statistics
from pathlib import Path

import pytest

from tracetorch.train.compare import compare
from tracetorch.train.tasks import TASKS

pytestmark = pytest.mark.slow


def scores(tmp_path: Path, task: str, rule: str, score: str, seeds: int, **options: object) -> list[float]:
    results = compare(TASKS[task](**options), [rule], folder=tmp_path / rule, seeds=range(seeds))
    return sorted(result.scores[score] for result in results)


def test_cartpole_is_balanced_by_nine_of_ten_and_stays_so(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium")
    results = list(compare(TASKS["cartpole"](), ["drtrl"], folder=tmp_path, seeds=range(10)))
    assert sum(r.scores["steps_to_goal"] <= 250_000 for r in results) >= 9
    assert sum(r.scores["return"] >= 450 for r in results) >= 8


@pytest.mark.parametrize("task", ["acrobot", "pendulum"])
def test_pendulums_swing_up(task, tmp_path: Path) -> None:
    pytest.importorskip("gymnasium")
    assert statistics.mean(scores(tmp_path, task, "drtrl", "return", 3)) >= TASKS[task].goal


def test_a_cue_is_found_by_exact_traces_and_not_without(tmp_path: Path) -> None:
    assert scores(tmp_path, "memorychain", "drtrl", "return", 3)[1] >= 0.9
    assert scores(tmp_path, "memorychain", "sltt", "return", 3)[-1] <= 0.2


def test_the_maze_is_walked(tmp_path: Path) -> None:
    assert scores(tmp_path, "tmaze", "drtrl", "return", 3)[1] >= 0.9


def test_clicks_from_reward_reach_97_percent_of_the_ideal_observer(tmp_path: Path) -> None:
    assert scores(tmp_path, "clicks-reward", "eprop", "of_observer", 3)[0] >= 0.97


def test_digits_from_reward(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    found = scores(tmp_path, "digits-reward", "trace", "accuracy", 3)
    assert statistics.mean(found) >= 0.96
    assert found[0] >= 0.95


@pytest.mark.skipif(not os.environ.get("TRACETORCH_DATA"), reason="TRACETORCH_DATA names no folder with the images")
def test_mnist_from_reward(tmp_path: Path) -> None:
    assert scores(tmp_path, "mnist-reward", "trace", "accuracy", 1)[0] >= 0.96
