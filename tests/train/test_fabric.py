"""Runs on Lightning Fabric: several processes are one, precision, loggers, what is refused."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from train.toy import Toy, ToyStream

import tracetorch as tt
from tracetorch.train import RunFolder, Trainer, begin, fit, make, recorded, reopen
from tracetorch.train.fabric import make_fabric, make_logger
from tracetorch.train.recording import make_runner
from tracetorch.train.tasks import Batch

OPTIONS = ["--set", "hidden=16", "--set", "batch_size=8", "--set", "eval_every=25", "--no-figures", "--json"]
COMMAND = ["-m", "tracetorch", "train"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "--", "tracetorch", "train"]
PATH = os.pathsep.join([str(Path(tt.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": PATH}
gloo = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available() or sys.platform != "linux",
    reason="needs gloo",
)


def train(*words: str | Path, command: list[str] = COMMAND) -> dict[str, Any]:
    line = [sys.executable, *command, *map(str, words)]
    found = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def records(run: Path) -> list[dict[str, Any]]:
    plain = ("seconds", "memory_mb")
    return [{k: v for k, v in record.items() if k not in plain} for record in RunFolder(run).records()]


def assert_same(one: Path, other: Path, *, exact: bool = False) -> None:
    ours, theirs = (load_file(run / "weights.safetensors") for run in (one, other))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        tolerance = 0.0 if exact or not value.is_floating_point() else 1e-10
        torch.testing.assert_close(value, theirs[name], rtol=0.0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")
    for a, b in zip(records(one), records(other), strict=True):
        assert a == (b if exact else pytest.approx(b, abs=1e-9)), (a, b)


@gloo
def test_two_processes_are_one_with_the_whole_batch(tmp_path: Path) -> None:
    words = ["digits", "--rule", "trace", "--set", "window=4", "--precision", "64-true", "--steps", "6", *OPTIONS]
    for name, more in (("one", []), ("two", ["--devices", "2"])):
        said = train(*words, *more, "--run", tmp_path / name)
        assert said["complete"]
        assert RunFolder(tmp_path / name).config["devices"] == (len(more) or 1)
    train(*words, "--run", tmp_path / "torchrun", command=TORCHRUN)
    assert_same(tmp_path / "one", tmp_path / "two")
    assert_same(tmp_path / "two", tmp_path / "torchrun", exact=True)
    before = make("digits", {"hidden": 16}).build().state_dict()
    after = load_file(tmp_path / "two" / "weights.safetensors")
    assert all(after[k].dtype == torch.float64 for k in after if after[k].is_floating_point())
    assert not torch.equal(before["0.synapse.weight"].double(), after["0.synapse.weight"])  # the hidden layer learns


@gloo
def test_two_processes_stop_together_and_go_on_bit_for_bit(tmp_path: Path) -> None:
    words = ["digits", "--steps", "60", "--devices", "2", *OPTIONS]
    command = [sys.executable, *COMMAND, *words, "--run", str(tmp_path / "parts")]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "parts" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.read_text().count("\n") >= 3):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 143, said
    reached = reopen(tmp_path / "parts")[0].iteration
    assert 0 < reached < 60
    train("--resume", tmp_path / "parts", "--no-figures", "--json")
    train(*words, "--run", tmp_path / "whole")
    assert_same(tmp_path / "parts", tmp_path / "whole", exact=True)


def test_one_process_is_the_loop_written_out_in_every_precision() -> None:
    outputs = {}
    for precision in ("32-true", "64-true", "bf16-mixed"):
        task = make("digits", {"hidden": "16", "batch_size": "8"})
        trainer = Trainer(task, fabric=make_fabric(precision=precision))
        net = task.build().double() if precision == "64-true" else task.build()
        optimizer = task.optimizer(net)
        for i in range(3):
            list(trainer.events(until=i + 1))
            batch = task.batch(i).like(net)
            task.schedule(optimizer, i)
            optimizer.zero_grad()
            tt.reset(net)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = next(task.losses(net, batch)).loss
            loss.backward()
            optimizer.step()
        for a, b in zip(net.parameters(), trainer.net.parameters(), strict=True):
            assert torch.equal(a, b)
        outputs[precision] = next(net.parameters()).detach().double()
    assert not torch.equal(outputs["32-true"], outputs["bf16-mixed"])  # autocast was on
    assert (outputs["32-true"] - outputs["64-true"]).abs().max() < 1e-2


def test_precision_is_the_runs(tmp_path: Path) -> None:
    task = make("digits", {"hidden": "8", "batch_size": "4", "steps": "2"})
    fit(task, run=tmp_path / "run", fabric=make_fabric(precision="64-true"))
    trainer, folder = reopen(tmp_path / "run")
    assert folder.config["precision"] == "64-true"
    assert next(trainer.net.parameters()).dtype == torch.float64
    assert trainer.evaluate()["accuracy"] == folder.records()[-1]["accuracy"]


def test_records_reach_the_loggers(tmp_path: Path) -> None:
    loggers = [make_logger("csv", tmp_path / "run")]
    fabric = make_fabric(loggers=loggers)
    trainer = Trainer(Toy(), fabric=fabric, log_every=4)
    list(recorded(trainer, begin(trainer, tmp_path / "run")))
    rows = list(csv.DictReader((tmp_path / "run" / "csv" / "version_0" / "metrics.csv").open()))
    found = {(int(row["step"]), name): float(row[name]) for row in rows for name in row if row[name] and "/" in name}
    for record in RunFolder(tmp_path / "run").records():
        for name in ("loss", "accuracy"):
            if name in record:
                assert found[record["iteration"], f"{record['kind']}/{name}"] == pytest.approx(record[name])


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="needs tensorboardX")
    fabric = make_fabric(loggers=[make_logger("tensorboard", tmp_path / "run")])
    trainer = Trainer(Toy(), fabric=fabric, log_every=4)
    list(recorded(trainer, begin(trainer, tmp_path / "run")))
    (file,) = (tmp_path / "run" / "tensorboard").glob("events*")
    assert b"train/loss" in file.read_bytes()
    assert b"eval/accuracy" in file.read_bytes()


def test_parts_of_a_batch() -> None:
    x, y = torch.rand(5, 6, 2), torch.arange(30).reshape(5, 6)
    batch = Batch(x, y, {"rows": torch.arange(6), "all": torch.tensor(3), "times": torch.arange(5)})
    parts = [batch.part(i, 3) for i in range(3)]
    assert torch.equal(torch.cat([part.x for part in parts], 1), x)
    assert torch.equal(torch.cat([part.y for part in parts], 1), y)
    assert torch.equal(torch.cat([part.extra["rows"] for part in parts]), torch.arange(6))
    assert all(int(part.extra["all"]) == 3 and len(part.extra["times"]) == 5 for part in parts)
    with pytest.raises(ValueError, match="4 processes cannot share a batch of 6"):
        batch.part(0, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "nope"}, "no device 'nope'"),
        ({"device": "cuda:99"}, "no device 'cuda:99'"),
        ({"device": "cpu:7"}, "no device 'cpu:7'"),
        ({"devices": 0}, "devices must be 1 or more, got 0"),
        ({"precision": "16-mixed"}, "precision is one of 32-true, 64-true, bf16-mixed, got '16-mixed'"),
    ],
)
def test_a_wrong_fabric_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_fabric(**arguments)


def test_what_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    two = make_fabric(devices=2)
    with pytest.raises(ValueError, match="is one stream"):
        Trainer(ToyStream(), fabric=two)
    reward = make("memorychain", {"length": "2", "steps": "8", "chunk": "4"})
    for fabric in (two, make_fabric(precision="64-true")):
        with pytest.raises(ValueError, match="has rewards"):
            make_runner(reward, fabric=fabric)
    with pytest.raises(ValueError, match="a logger is one of csv, tensorboard, got 'nope'"):
        make_logger("nope", tmp_path)
