"""The command in a process of its own: the module, signals, comparisons."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tracetorch.cli.app import app
from tracetorch.train import reopen

COMMAND = [sys.executable, "-m", "tracetorch"]
SMALL = ["--set", "hidden=8", "--set", "batch_size=4", "--set", "eval_every=50"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, env=ENVIRONMENT, check=False)


def test_module_runs() -> None:
    assert "train" in run("--help").stdout


def hears() -> None:
    """Let a process hear SIGINT, which a shell has its background jobs ignore, and SIGHUP, which nohup does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (getattr(signal, "SIGHUP", 1), 129)]
)
def test_signal_writes_a_checkpoint_that_goes_on_bit_for_bit(number: int, code: int, tmp_path: Path) -> None:
    path = tmp_path / "run"
    words = ["train", "digits", "--no-figures", "--steps", "600", *SMALL]
    process = subprocess.Popen(
        [*COMMAND, *words, "--run", str(path)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, preexec_fn=hears
    )
    log = path / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (log.is_file() and log.read_text().count("\n") >= 3):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert f"tracetorch train --resume {path}" in said
    assert "Traceback" not in said
    assert reopen(path)[0].iteration < 600
    resumed = run("train", "--resume", path, "--no-figures", "--json")
    assert json.loads(resumed.stdout)["iterations"] == 600
    whole = run(*words, "--run", tmp_path / "whole", "--json")
    assert whole.returncode == 0, whole.stderr
    first, _ = reopen(path)
    second, _ = reopen(tmp_path / "whole")
    assert all(map(torch.equal, first.net.state_dict().values(), second.net.state_dict().values()))
    scores = [json.loads(answer.stdout)["scores"] for answer in (resumed, whole)]
    assert scores[0] == scores[1]


def test_compare_runs_each_in_its_own_process(tmp_path: Path) -> None:
    words = ["compare", "digits", "--rules", "frozen,traced_bptt:4", "--seeds", "1", "--steps", "60", *SMALL]
    words += ["--run", str(tmp_path / "runs")]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    assert "traced_bptt:4" in first.stdout
    assert (tmp_path / "runs" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    results = json.loads((tmp_path / "runs" / "results.json").read_text())
    assert len(results["runs"]) == 2
    assert all(result["peak_mb"] > 50 and result["seconds"] > 0 for result in results["runs"])
    assert all(result["curve"][0] == [50] for result in results["runs"])
    written = (tmp_path / "runs" / "frozen-0" / "result.json").stat().st_mtime_ns
    again = CliRunner().invoke(app, [*words, "--json"])
    assert [row["rule"] for row in json.loads(again.stdout)["summary"]] == ["frozen", "traced_bptt:4"]
    assert (tmp_path / "runs" / "frozen-0" / "result.json").stat().st_mtime_ns == written
    other = CliRunner().invoke(app, [*words, "--set", "hidden=9"])
    assert other.exit_code == 2
    assert "overwrites nothing" in other.stderr


def test_compare_says_what_went_wrong_in_a_run(tmp_path: Path) -> None:
    words = [
        "compare",
        "clicks",
        "--preset",
        "hard",
        "--rules",
        "ottt",
        "--seeds",
        "1",
        "--run",
        str(tmp_path / "runs"),
    ]
    failed = CliRunner().invoke(app, words)
    assert failed.exit_code == 2
    assert "approximate=True" in failed.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_ends_a_comparison_and_its_runs(tmp_path: Path) -> None:
    words = ["compare", "digits", "--rules", "trace", "--seeds", "1", "--steps", "1000000", *SMALL]
    command = [*COMMAND, *words, "--run", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, preexec_fn=hears)
    log = tmp_path / "runs" / "trace-0" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not log.is_file():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)  # to the parent alone
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "goes on" in said
    assert "Traceback" not in said
    size = log.stat().st_size
    time.sleep(1.0)
    assert log.stat().st_size == size


def test_missing_extra_is_one_line() -> None:
    program = "import sys; sys.modules['typer'] = None\nfrom tracetorch.cli import main\nmain()"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "tracetorch[train]" in result.stderr
    assert result.stderr.count("\n") == 1
