"""Commands on a task of a user's own script."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli.test_cli import answer, call, wrong

from tracetorch.train import RunFolder, compare, make, reopen

SOURCE = Path(__file__).parents[1] / "train" / "own_task.py"
SMALL = ["--set", "batch_size=4", "--set", "eval_every=2", "--set", "hidden=6"]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "mine.py"
    path.parent.mkdir()
    shutil.copy(SOURCE, path)
    return path


def test_train_eval_and_resume(script: Path, tmp_path: Path) -> None:
    word, run = f"{script}:Halves", tmp_path / "run"
    said = answer("train", word, "--steps", "3", "--run", run, "--no-figures", *SMALL)
    assert said["task"] == "halves"
    assert said["iterations"] == 3
    assert 0 <= said["scores"]["accuracy"] <= 1
    assert answer("eval", run, "--task", word)["scores"] == said["scores"]
    assert answer("train", word, "--resume", run, "--steps", "5", "--no-figures")["iterations"] == 5
    assert json.loads((run / "config.json").read_text())["options"]["hidden"] == 6


def test_a_run_of_a_script_does_not_run_the_script_unasked(script: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    answer("train", f"{script}:Halves", "--steps", "2", "--run", run, "--no-figures", *SMALL)
    assert "its script, my_task.py:Task" in wrong("train", "--resume", run)
    assert "its script, my_task.py:Task" in wrong("eval", run)
    assert str(script) not in RunFolder.open(run).path.joinpath("config.json").read_text()
    assert "leave TASK out" in wrong("train", "digits", "--resume", run)
    trainer, _ = reopen(run, task=make(f"{script}:Halves", RunFolder.open(run).config["options"]))
    assert trainer.iteration == 2


def test_compare_makes_a_table_of_rules_and_seeds(script: Path, tmp_path: Path) -> None:
    words = ["--rules", "frozen,sltt,trace", "--seeds", "2", "--steps", "3", "--run", tmp_path / "all", "--no-figures"]
    said = answer("compare", f"{script}:Halves", *words, *SMALL)
    assert [(row["rule"], row["seeds"]) for row in said["summary"]] == [("frozen", 2), ("sltt", 2), ("trace", 2)]
    assert said["metric"] == "accuracy"


def test_audit_takes_a_task_of_a_script(script: Path, tmp_path: Path) -> None:
    words = ["--rules", "cascade,sltt", "--seeds", "1", "--run", tmp_path / "run", "--no-figures"]
    said = answer("audit", f"{script}:Halves", *words, "--set", "batch_size=8")
    assert said["rules"]["cascade"]["layers"]["0"][0]["cosine"] > 0.999999
    assert said["rules"]["sltt"]["layers"]["0"][0]["cosine"] < 0.999


def test_list_shows_its_options(script: Path) -> None:
    options = {row["option"]: row["what"] for row in answer("list", f"{script}:Halves")["options"]}
    assert options["length"] == "time steps"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NET", "no subclass of tracetorch.train.Task"),
        ("Nope", "defines no 'Nope'"),
        ("Unfinished", "does not define batch, held_out"),
        ("Nameless", "needs a name"),
    ],
)
def test_what_is_no_task_is_refused(name: str, said: str, script: Path) -> None:
    assert said in wrong("train", f"{script}:{name}")


def test_bad_words(script: Path, tmp_path: Path) -> None:
    assert "no script 'nope.py'" in wrong("train", "nope.py:Task")
    assert "no option 'widht'" in wrong("train", f"{script}:Halves", "--set", "widht=3")
    assert "my_task.py:Task" in wrong("train", "nope")
    result = call("compare", "nope.py:Task")
    assert result.exit_code == 2


def test_a_class_that_other_processes_cannot_read_is_refused(tmp_path: Path) -> None:
    from train.own_task import Halves

    with pytest.raises(ValueError, match=r"my_task\.py:Task"):
        next(compare(Halves(), ["trace"], folder=tmp_path))
