"""The command line: answers, errors in one line, interruptions."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from train.toy import Toy
from typer.testing import CliRunner, Result

import tracetorch as tt
from tracetorch.cli.app import app
from tracetorch.cli.train import _go
from tracetorch.train import RunFolder, Trainer, begin, fit, make, recorded, reopen

SMALL = ["--set", "hidden=8", "--set", "batch_size=4", "--set", "eval_every=2"]


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def answer(*words: str | Path) -> Any:
    result = call(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def wrong(*words: str | Path) -> str:
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_train_answers_in_json(tmp_path: Path) -> None:
    said = answer("train", "digits", "--steps", "4", "--run", tmp_path / "run", *SMALL)
    assert said["complete"] is True
    assert said["iterations"] == 4
    assert said["metric"] == next(iter(said["scores"]))
    names = {Path(path).name for path in said["figures"]}
    assert {"raster.png", "traces.png", "learning_curve.png"} <= names
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in said["figures"])


def test_train_shows_a_table_and_lines(tmp_path: Path) -> None:
    result = call("train", "digits", "--steps", "4", "--run", tmp_path / "run", "--no-figures", *SMALL)
    assert result.exit_code == 0, result.output
    assert "accuracy" in result.stdout
    assert str(tmp_path / "run") in result.stdout
    assert "iteration      2" in result.stderr


def test_default_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = answer("train", "digits", "--rule", "tbptt:4", "--seed", "3", "--steps", "2", "--no-figures", *SMALL)
    assert said["run"].startswith("runs/digits-tbptt_4-3-2")
    assert RunFolder.open(tmp_path / said["run"]).config["options"]["window"] == 4


def test_clicks_draw_the_psychometric_curve(tmp_path: Path) -> None:
    said = answer("train", "clicks", "--steps", "1", "--run", tmp_path / "run", "--set", "trials=50", *SMALL)
    assert "psychometric.png" in {Path(path).name for path in said["figures"]}


def test_learned_half_lives_are_drawn(tmp_path: Path) -> None:
    words = ["--preset", "hard", "--set", "trials=50", *SMALL]
    said = answer("train", "clicks", "--steps", "1", "--run", tmp_path / "run", *words)
    assert "half_lives.png" in {Path(path).name for path in said["figures"]}


def test_eval_repeats_the_scores(tmp_path: Path) -> None:
    trained = answer("train", "digits", "--steps", "3", "--run", tmp_path / "run", "--no-figures", *SMALL)
    said = answer("eval", tmp_path / "run", "--figures")
    assert said["scores"] == trained["scores"]
    assert said["iteration"] == 3
    assert (tmp_path / "run" / "figures" / "raster.png").is_file()
    assert "accuracy" in call("eval", tmp_path / "run").stdout


def test_resume_goes_on(tmp_path: Path) -> None:
    answer("train", "digits", "--steps", "4", "--run", tmp_path / "parts", "--no-figures", *SMALL)
    said = answer("train", "--resume", tmp_path / "parts", "--steps", "9", "--no-figures")
    assert said["iterations"] == 9
    assert [r["iteration"] for r in RunFolder(tmp_path / "parts").records() if r["kind"] == "eval"] == [2, 4, 6, 8]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "name a task"),
        (["train", "nope"], "no task 'nope'"),
        (["train", "digits", "--rule", "nope"], "no rule 'nope'"),
        (["train", "digits", "--set", "hidden=x"], "option 'hidden'"),
        (["train", "digits", "--set", "hidden"], "--set takes name=value, got 'hidden'"),
        (["train", "digits", "--set", "nope=1"], "no option 'nope'"),
        (["train", "digits", "--preset", "nope"], "no preset 'nope'"),
        (["train", "digits", "--data", "x"], "reads no data file"),
        (["train", "digits", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["train", "digits", "--threads", "0"], "--threads must be at least 1, got 0"),
        (["train", "digits", "--device", "nope"], "no device 'nope'"),
        (["train", "mnist", "--data", "/nope"], "/nope"),
        (["train", "--resume", "/nope"], "holds no run"),
        (["train", "digits", "--resume", "/nope"], "leave TASK out"),
        (["eval", "/nope"], "holds no run"),
        (["compare", "nope"], "no task 'nope'"),
        (["compare", "digits", "--rules", "trace,nope"], "no rule 'nope'"),
        (["compare", "digits", "--rules", ""], "at least one rule"),
        (["compare", "digits", "--seeds", "0"], "--seeds must be at least 1"),
        (["list", "nope"], "no task 'nope'"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in wrong(*words)
    assert list(tmp_path.iterdir()) == []


def test_missing_data_names_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACETORCH_DATA", raising=False)
    assert "--data" in wrong("train", "mnist")


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    assert "overwrites nothing" in wrong("train", "digits", "--run", tmp_path, "--no-figures")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_traceback_on_demand() -> None:
    result = call("train", "nope", "--traceback")
    assert isinstance(result.exception, ValueError)


def test_list_names_tasks_rules_neurons() -> None:
    said = answer("list")
    tasks = {row["task"] for row in said["tasks"]}
    assert {"clicks", "digits", "mnist", "fashion", "ecg"} <= tasks
    assert {"cartpole", "acrobot", "pendulum", "memorychain", "tmaze"} <= tasks
    assert {"clicks-reward", "digits-reward", "mnist-reward"} <= tasks
    assert {row["rule"] for row in said["rules"]} == set(tt.rules.PRESETS)
    assert {row["neuron"] for row in said["neurons"]} >= {"LIF", "ALIF", "LI", "Mean", "IF", "SynapticLIF"}
    assert "clicks" in call("list").stdout
    assert {row["option"] for row in answer("list", "clicks")["options"]} >= {"seed", "steps", "noise"}


def test_info_names_versions() -> None:
    said = answer("info")
    assert said["torch"] == torch.__version__
    assert said["torch_threads"] >= 1
    assert set(said["neurons"]) >= {"ALIF", "DiagonalRecurrent", "LRU", "BRF"}
    assert set(said["neurons"].values()) == {"lowered"}
    assert "torch" in call("info").stdout


def test_help_and_version() -> None:
    assert "compare" in call("--help").stdout
    assert call("--version").stdout.strip() == tt.__version__


class Interrupted(Toy):
    """Presses Ctrl-C while it evaluates, or in the midst of an iteration (twice)."""

    def evaluate(self, net, *, quick=False):
        if self.window is None:
            signal.raise_signal(signal.SIGINT)
        return super().evaluate(net, quick=quick)

    def losses(self, net, batch):
        if self.window is not None and self.window < 10:
            signal.raise_signal(signal.SIGINT)
            if self.window == 1:
                signal.raise_signal(signal.SIGINT)
        yield from super().losses(net, batch)


def interrupt(task: Toy, path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, Trainer]:
    trainer = Trainer(task)
    folder = begin(trainer, path)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(typer.Exit) as stopped:
        _go(trainer, folder, figures=False, json_answer=False, every={})
    assert signal.getsignal(signal.SIGINT) is before
    return stopped.value.exit_code, capsys.readouterr().err, trainer


def test_ctrl_c_in_an_evaluation_breaks_it_off_and_saves(tmp_path: Path, capsys) -> None:
    code, said, trainer = interrupt(Interrupted(steps=8), tmp_path / "run", capsys)
    assert code == 130
    assert trainer.iteration == 4
    assert f"tracetorch train --resume {tmp_path / 'run'}" in said
    trainer, folder = reopen(tmp_path / "run", task=Toy(steps=8), resume=True)
    list(recorded(trainer, folder))
    whole = fit(Toy(steps=8), run=tmp_path / "whole")
    times = ("seconds", "memory_mb")
    logs = [
        [{k: v for k, v in r.items() if k not in times} for r in f.records()] for f in (folder, RunFolder(whole.path))
    ]
    assert logs[0] == logs[1]
    assert all(map(torch.equal, trainer.net.state_dict().values(), whole.trainer.net.state_dict().values()))


def test_ctrl_c_in_an_iteration_ends_it_first(tmp_path: Path, capsys) -> None:
    code, said, trainer = interrupt(Interrupted(steps=8, window=5), tmp_path / "run", capsys)
    assert (code, trainer.iteration) == (130, 1)
    assert "stopped after iteration 1 of 8" in said


def test_ctrl_c_twice_breaks_an_iteration_off_and_leaves_the_first_checkpoint(tmp_path: Path, capsys) -> None:
    code, said, _ = interrupt(Interrupted(steps=8, window=1), tmp_path / "run", capsys)
    assert code == 130
    assert "from the last checkpoint" in said
    trainer, folder = reopen(tmp_path / "run", task=Toy(steps=8, window=1), resume=True)
    assert trainer.iteration == 0
    list(recorded(trainer, folder))


def test_task_words_reach_the_task() -> None:
    assert make("digits", {"hidden": "8"}).hidden == 8
