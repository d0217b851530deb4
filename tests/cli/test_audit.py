"""The command audit: of a task and of a script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.test_cli import answer, call, wrong

SCRIPT = """
import torch
from torch import nn
import tracetorch as tt

def net(seed):
    stack = [tt.Layer(nn.Linear(8, 8), tt.LIF(half_life=5, threshold=0.3)) for _ in range(2)]
    return nn.Sequential(*stack, nn.Linear(8, 2))

def batch(seed):
    return torch.rand(12, 4, 8), torch.randint(2, (4,))

def stepwise(seed):
    xs, targets = batch(seed)
    return xs, targets.expand(12, -1)

loss = nn.functional.cross_entropy
fixed = net(0)
"""
SMALL = ["--set", "hidden=8", "--set", "batch_size=4"]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SCRIPT)
    return path


def test_a_script_is_audited(script: Path, tmp_path: Path) -> None:
    said = answer("audit", f"{script}:net", "--rules", "cascade,sltt", "--run", tmp_path / "run")
    cosines = {rule: found["layers"]["0"] for rule, found in said["rules"].items()}
    assert all(a["cosine"] > 0.999999 for a in cosines["cascade"])
    assert all(a["cosine"] < 0.999 for a in cosines["sltt"])
    assert len(cosines["sltt"]) == 3
    written = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert written["rules"] == said["rules"]
    assert (tmp_path / "run" / "audit.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_lists_rules_and_silent_units(script: Path, tmp_path: Path) -> None:
    words = ["--rules", "drtrl,rate", "--window", "4", "--seeds", "2", "--run", tmp_path / "run", "--no-figures"]
    result = call("audit", f"{script}:fixed", *words)
    assert result.exit_code == 0, result.output
    assert "rate: refused: " in result.stdout
    assert "units silent" in result.stdout
    assert not (tmp_path / "run" / "audit.png").exists()


def test_a_task_is_audited_in_training(tmp_path: Path) -> None:
    words = ["--rules", "bptt,sltt", "--seeds", "1", "--after", "2", "--window", "1", "--no-figures"]
    said = answer("audit", "digits", *words, "--run", tmp_path / "run", *SMALL)
    assert said["rules"]["bptt"]["layers"]["0"][0]["relative_error"] < 1e-10
    assert said["rules"]["sltt"]["costs"][0]["peak_bytes"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope"], "no task 'nope'"),
        (["nope.py:net"], "no script 'nope.py'"),
        (["cartpole"], "it has rewards"),
        (["digits", "--rules", "frozen"], "trains the readout alone"),
        (["digits", "--seeds", "0"], "--seeds must be at least 1"),
        (["digits", "--after", "-1"], "at least 0, got -1"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in wrong("audit", *words)
    assert list(tmp_path.iterdir()) == []


def test_a_script_names_what_it_lacks(script: Path) -> None:
    assert "defines no 'nope'" in wrong("audit", f"{script}:nope")
    assert "give --window instead" in wrong("audit", f"{script}:net", "--rules", "tbptt:4")
    script.write_text(SCRIPT.replace("loss =", "other ="))
    assert "defines no 'loss'" in wrong("audit", f"{script}:net")
