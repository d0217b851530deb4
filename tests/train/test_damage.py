"""Damaged run folders and data files: the command goes on as if nothing were, or says in one line what is wrong.

More cases: ``TRACETORCH_FUZZ=5000 pytest tests/train/test_damage.py`` (of each kind of damage).
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from train import damage
from typer.testing import CliRunner

from tracetorch.cli.app import app
from tracetorch.data import DamagedFileError, mitbih, mnist
from tracetorch.train import Progressed, RunFileError, RunFolder, begin, make, recorded, reopen
from tracetorch.train.checkpoint import load_tree, save_tree
from tracetorch.train.recording import make_runner

CASES = int(os.environ.get("TRACETORCH_FUZZ", "60"))
OPTIONS = {"digits": {"hidden": 4, "batch_size": 4, "eval_every": 2, "time_steps": 2, "repeat": 1}}
OPTIONS["memorychain"] = {"length": 2, "chunk": 4, "hidden": 4, "eval_every": 2}


@dataclass
class Stopped:
    """A run that was stopped, and what it comes to when it is resumed."""

    path: Path
    state: dict[str, Any]
    end: dict[str, Any]


@pytest.fixture(scope="module", params=["digits", "memorychain"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    path = tmp_path_factory.mktemp("runs") / request.param
    rewarded = request.param == "memorychain"
    task = make(request.param, {"steps": 20 if rewarded else 4, **OPTIONS[request.param]})
    trainer = make_runner(task, log_every=1)
    for event in recorded(trainer, begin(trainer, path)):
        if isinstance(event, Progressed) and event.iteration == 3:
            trainer.stop()
    (path / ".lock").unlink(missing_ok=True)
    copy = path.with_name("whole")
    shutil.copytree(path, copy)
    code, _, said = call(copy)
    assert code == 0, said
    return Stopped(path, load_tree(path / "state.safetensors"), ended(copy))


def call(path: Path) -> tuple[int, str, str]:
    """Resume a run in this process; return exit code, standard output and standard error."""
    result = CliRunner().invoke(app, ["train", "--resume", str(path), "--no-figures", "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def ended(path: Path) -> dict[str, Any]:
    times = ("seconds", "memory_mb")
    log = [{k: v for k, v in r.items() if k not in times} for r in RunFolder(path).records()]
    weights = load_tree(path / "state.safetensors")["run"].get("weights", {})
    return {"log": repr(log), "weights": {name: value.tolist() for name, value in weights.items()}}


def refused(path: Path, *, name: str = "", field: str = "") -> bool:
    """Resume; return False where it went well, True where one line said what is wrong; fail at anything else."""
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.name != ".lock"}
    code, out, said = call(path)
    if code == 0:
        return False
    assert (code, out) == (2, ""), said
    assert said.startswith("error: ") and said.count("\n") == 1 and len(said) < 2000, said
    assert name in said and field in said, said
    assert before == {file.name: file.read_bytes() for file in path.iterdir() if file.name != ".lock"}
    return True


@pytest.mark.parametrize("name", ["config.json", "state.safetensors", "metrics.jsonl"])
def test_damaged_bytes(run: Stopped, name: str, tmp_path: Path) -> None:
    hit = 0
    for seed in range(CASES):
        random = Random(seed)
        path = tmp_path / str(seed)
        shutil.copytree(run.path, path)
        damaged = random.choice(damage.BYTES)(data := (path / name).read_bytes(), random)
        (path / name).write_bytes(damaged)
        if refused(path, name=name):
            hit += 1
        else:  # spaces in the configuration, or what the log holds beyond the checkpoint
            assert ended(path) == run.end, seed
            harmless = damaged == data or (name == "metrics.jsonl" and damaged.startswith(data))
            assert harmless or (name == "config.json" and json.loads(damaged) == json.loads(data)), seed
        shutil.rmtree(path)
    assert hit > 0.7 * CASES


def test_wrong_fields_of_the_configuration(run: Stopped, tmp_path: Path) -> None:
    config = json.loads((run.path / "config.json").read_text())
    shutil.copytree(run.path, tmp_path / "run")
    for seed in range(CASES):
        wrong, path, _ = damage.mangled(config, Random(seed))
        (tmp_path / "run" / "config.json").write_bytes(damage.as_json(wrong))
        assert refused(tmp_path / "run", name="config.json", field=str(path[0])), (seed, path)


def test_wrong_fields_of_a_state_with_a_right_checksum(run: Stopped, tmp_path: Path) -> None:
    """What no accident does: a file of another version, or one that somebody wrote."""
    shutil.copytree(run.path, tmp_path / "run")
    free = ("actions", "stream")  # what stands there depends on environment and steps
    paths = [p for p in damage.places(run.state) if not (len(p) > 2 and p[:2] == ("run", "stream"))]
    paths += [p for p in damage.places(run.state) if p[:2] == ("run", "stream") and not set(free) & set(p[2:])]
    hit = 0
    for seed in range(CASES):
        random = Random(seed)
        wrong, path, what = damage.mangled(run.state, random, random.choice(paths))
        save_tree(tmp_path / "run" / "state.safetensors", wrong)
        # An optimizer starts from zero where it has no entry, as for a parameter that never had a gradient.
        lost = path[1:3] == ("optimizer", "state") and what == "missing"
        assert refused(tmp_path / "run") or lost or path[1:2] == ("stream",), (seed, path, what)
        hit += 1
    assert hit == CASES


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (("iteration",), -5),
        (("iteration",), 2**60),
        (("logged_at",), 10),
        (("seconds",), float("nan")),
        (("averages", "counts"), {"loss": 0}),
        (("averages", "sums"), {"other": 0.0}),
    ],
)
def test_values_out_of_range(run: Stopped, field: tuple[str, ...], value: Any, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    save_tree(tmp_path / "run" / "state.safetensors", damage.changed(run.state, ("run", *field), value))
    assert refused(tmp_path / "run", name="state.safetensors", field="run." + field[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (("threads",), 10**9),
        (("device",), "cpu:7"),
        (("device",), "cuda:99"),
        (("device",), "meta"),
        (("log_every",), 0),
        (("rule",), "eprop"),
        (("rule",), "nope"),
        (("task",), "clicks"),
        (("task",), "nope"),
        (("options", "lr"), float("nan")),
        (("options", "lr"), -1.0),
        (("options", "steps"), -5),
        (("options", "hidden"), 10**12),
        (("options", "hidden"), 5),
        (("options", "seed"), "0"),
        (("options", "eval_every"), 0),
    ],
)
@pytest.mark.parametrize("both", [False, True], ids=["alone", "and in the checkpoint"])
def test_configurations_out_of_range(
    run: Stopped, field: tuple[str, ...], value: Any, both: bool, tmp_path: Path
) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    config = damage.changed(json.loads(file.read_text()), field, value)
    file.write_bytes(damage.as_json(config))
    if both:
        save_tree(tmp_path / "run" / "state.safetensors", {**run.state, "config": config})
    if both and value == "eprop":
        return  # a rule with the same state: nothing is wrong
    assert refused(tmp_path / "run")


def test_a_file_of_another_run(run: Stopped, tmp_path: Path) -> None:
    task = make("digits", {"steps": 2, "seed": 1, **OPTIONS["digits"]})
    trainer = make_runner(task, rule="eprop", log_every=1)
    list(recorded(trainer, begin(trainer, tmp_path / "other")))
    for name in ("config.json", "state.safetensors", "metrics.jsonl"):
        shutil.copytree(run.path, tmp_path / name)
        shutil.copy(tmp_path / "other" / name, tmp_path / name / name)
        assert refused(tmp_path / name, name="metrics" if "metrics" in name else "config.json")


@pytest.mark.parametrize("gone", ["config.json", "state.safetensors", "metrics.jsonl"])
def test_a_file_is_gone(run: Stopped, gone: str, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / gone).unlink()
    assert refused(tmp_path / "run", name=gone)


def test_left_over_parts_go(run: Stopped, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / ".state.safetensors.123.part").write_bytes(b"half")
    assert not refused(tmp_path / "run")
    assert not list((tmp_path / "run").glob(".*.part"))


def test_a_job_of_a_comparison(tmp_path: Path) -> None:
    from tracetorch.train.worker import Job, read_job, write_job

    job = Job("digits", "trace", 0, {"hidden": 4}, 1)
    write_job(job, tmp_path)
    assert read_job(tmp_path) == job
    tree = json.loads((tmp_path / "job.json").read_text())
    for seed in range(CASES):
        wrong, path, _ = damage.mangled(tree, Random(seed))
        (tmp_path / "job.json").write_bytes(damage.as_json(wrong))
        if path[0] != "options" or path == ("options",):
            with pytest.raises(RunFileError, match=r"job\.json"):
                read_job(tmp_path)


def images(path: Path) -> None:
    random = np.random.default_rng(0)
    parts = {}
    for name, count in (("train", 9), ("test", 5)):
        parts[f"x_{name}"] = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        parts[f"y_{name}"] = random.integers(0, 10, count)
    np.savez_compressed(path, **parts)


def heartbeats(path: Path) -> None:
    np.savez_compressed(
        path,
        ecg=np.arange(400, dtype=np.int16).reshape(2, 200),
        gain=np.float32(200),
        fs=np.float32(360),
        record=np.array(["100", "106"]),
        beat=np.array([10, 50, 90, 20, 70]),
        beat_offsets=np.array([0, 3, 5]),
        beat_is_pvc=np.array([False, True, False, True, False]),
    )


@pytest.mark.parametrize(("write", "read"), [(images, mnist), (heartbeats, lambda path: mitbih(106, path))])
def test_damaged_data_files(write: Any, read: Any, tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    write(file)
    data, right = file.read_bytes(), vars(read(file))
    hit = 0
    for seed in range(3 * CASES):
        random = Random(seed)
        file.write_bytes(random.choice([*damage.BYTES[:7], damage.archive, damage.archive])(data, random))
        try:
            got = vars(read(file))
        except DamagedFileError as error:
            hit += 1
            said = str(error)
        else:
            said = ""
        if said:
            assert str(file) in said and "\n" not in said
            continue
        for name, value in right.items():  # the checksums of the archive cover the arrays, not the dates
            assert torch.equal(got[name], value) if isinstance(value, torch.Tensor) else got[name] == value, (
                seed,
                name,
            )
    assert hit > CASES


def test_nothing_is_executed(run: Stopped, tmp_path: Path) -> None:
    """A pickle instead of a state or of an array is not opened."""
    shutil.copytree(run.path, tmp_path / "run")
    torch.save({"a": 1}, tmp_path / "run" / "state.safetensors")
    assert refused(tmp_path / "run", name="state.safetensors")


def test_reopen_raises_the_one_error(run: Stopped, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text("x\n")
    with pytest.raises(RunFileError, match=r"metrics\.jsonl': line 1: no readable JSON") as caught:
        reopen(tmp_path / "run")
    assert (caught.value.field, caught.value.path.name) == ("line 1", "metrics.jsonl")
