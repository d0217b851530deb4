"""Checkpoints: nested states as safetensors, whole files, and runs that go on bit for bit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from train.toy import Toy, ToyStream

import tracetorch as tt
from tracetorch.data.files import write_file
from tracetorch.train import Progressed, RunFolder, Task, Trainer, begin, fit, recorded, reopen
from tracetorch.train.checkpoint import load_tree, pack, save_tree, unpack
from tracetorch.train.folder import default_path, describe

TIMES = ("seconds", "memory_mb")


def test_pack_and_unpack_are_inverse() -> None:
    tree = {
        0: {"step": torch.tensor(3.0), "flag": True, "none": None},
        "list": [1, 2.5, "text", (1, torch.arange(3))],
        "odd": {"inf": math.inf, "small": 5e-324, "third": 1 / 3},
        "empty": {},
    }
    packed, tensors = pack(tree)
    again = unpack(json.loads(json.dumps(packed)), tensors)
    assert list(again) == [0, "list", "odd", "empty"]
    assert again["odd"] == tree["odd"]
    assert isinstance(again["list"][3], tuple)
    assert torch.equal(again["list"][3][1], torch.arange(3))
    assert again[0]["flag"] is True


def test_pack_refuses_what_is_not_plain() -> None:
    with pytest.raises(TypeError, match=r"cannot save 'a\.b': it is a set"):
        pack({"a": {"b": {1}}})


def test_trees_survive_a_file(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    tree = {
        "t": base.T,
        "view": base[0],
        "empty": torch.empty(0, 4),
        "bool": torch.tensor([True]),
        "bf": base.bfloat16(),
    }
    save_tree(tmp_path / "x.safetensors", tree)
    again = load_tree(tmp_path / "x.safetensors")
    assert all(torch.equal(again[name], tree[name]) and again[name].dtype == tree[name].dtype for name in tree)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not a safetensors file")
    with pytest.raises(ValueError, match="no readable safetensors file"):
        load_tree(tmp_path / "x")


def test_write_file_keeps_the_old_one_where_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x"
    write_file(file, b"old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("tracetorch.data.files.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_file(file, b"new")
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def stopped(task: Task, rule: str, at: int, path: Path) -> None:
    trainer = Trainer(task, rule=rule)
    for event in recorded(trainer, begin(trainer, path)):
        if isinstance(event, Progressed) and event.iteration == at:
            trainer.stop()
    assert trainer.iteration == at


def log(folder: Path) -> list[dict]:
    return [{k: v for k, v in r.items() if k not in TIMES} for r in RunFolder(folder).records()]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("task", [Toy(steps=27, eval_every=7), ToyStream(steps=27, eval_every=7)], ids=lambda t: t.name)
@pytest.mark.parametrize("rule", sorted(tt.rules.PRESETS))
@pytest.mark.parametrize("at", [10, 14, 19])
def test_resumed_run_is_the_run_that_never_stopped(task: Task, rule: str, at: int, tmp_path: Path) -> None:
    if task.is_stream and rule in ("bptt", "rate"):
        pytest.skip("needs a reset before each sequence")
    if task.is_stream and rule == "ottt":
        rule = "ottt:approximate=true"
    whole = fit(task, rule=rule, run=tmp_path / "whole")
    stopped(task, rule, at, tmp_path / "parts")
    trainer, folder = reopen(tmp_path / "parts", task=task, resume=True)
    for _ in recorded(trainer, folder):
        pass
    assert same(whole.trainer.net.state_dict(), trainer.net.state_dict())
    assert same(tt.get_state(whole.trainer.net), tt.get_state(trainer.net))
    assert log(tmp_path / "whole") == log(tmp_path / "parts")


@pytest.mark.parametrize("part", ["stream", "optimizer"])
def test_each_part_of_the_state_matters(part: str, tmp_path: Path) -> None:
    """The comparison above would see a state that is not restored."""
    task = ToyStream(steps=27)
    whole = fit(task, run=tmp_path / "whole")
    stopped(task, "trace", 10, tmp_path / "parts")
    file = tmp_path / "parts" / "state.safetensors"
    state = load_tree(file)
    tensors = state["run"]["stream"] if part == "stream" else state["run"]["optimizer"]["state"][0]
    for tensor in tensors.values():
        tensor.zero_()
    save_tree(file, state)
    trainer, folder = reopen(tmp_path / "parts", task=task, resume=True)
    for _ in recorded(trainer, folder):
        pass
    assert not same(whole.trainer.net.state_dict(), trainer.net.state_dict())


def test_a_finished_run_goes_on_to_more_steps(tmp_path: Path) -> None:
    whole = fit(Toy(steps=23, eval_every=5), run=tmp_path / "whole")
    fit(Toy(steps=13, eval_every=5), run=tmp_path / "parts")
    trainer, folder = reopen(tmp_path / "parts", task=Toy(steps=13, eval_every=5), steps=23, resume=True)
    for _ in recorded(trainer, folder):
        pass
    assert same(whole.trainer.net.state_dict(), trainer.net.state_dict())

    def curve(folder: Path) -> list[dict]:
        return [r for r in log(folder) if r["kind"] != "test" and not r.get("partial")]

    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    fit(Toy(steps=5), run=tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    trainer, folder = reopen(tmp_path / "run", task=Toy(steps=5), resume=True)
    assert [type(event).__name__ for event in recorded(trainer, folder)] == ["Saved", "Finished"]
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_what_was_logged_after_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    task = Toy(steps=20, eval_every=5)
    stopped(task, "trace", 10, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    checkpoint = (folder.path / "state.safetensors").read_bytes()
    trainer, folder = reopen(folder.path, task=task, resume=True)
    for _ in recorded(trainer, folder):
        pass
    first = log(folder.path)
    (folder.path / "state.safetensors").write_bytes(checkpoint)  # as after a crash
    folder.append({"kind": "train", "iteration": 99, "time_step": 990, "seconds": 1.0})
    with open(folder.log, "a") as file:
        file.write('{"kind": "tr')
    trainer, folder = reopen(folder.path, task=task, resume=True)
    for _ in recorded(trainer, folder):
        pass
    assert log(folder.path) == first


def test_checkpoints_are_written_on_the_way(tmp_path: Path) -> None:
    trainer = Trainer(Toy(steps=6))
    names = [type(e).__name__ for e in recorded(trainer, begin(trainer, tmp_path / "run"), save_seconds=0.0)]
    assert names.count("Saved") >= 6


def test_a_half_written_last_line_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    record = {"kind": "train", "iteration": 1, "time_step": 10, "seconds": 0.5}
    folder.append(record)
    with open(folder.log, "a") as file:
        file.write('{"kind": "tr')
    assert folder.records() == [record]


def test_run_folder_holds_what_is_needed(tmp_path: Path) -> None:
    result = fit(Toy(steps=3, seed=5), rule="eprop", run=tmp_path / "run")
    assert {p.name for p in result.path.iterdir()} - {".lock"} == {
        "config.json",
        "metrics.jsonl",
        "state.safetensors",
        "weights.safetensors",
    }
    config = RunFolder.open(tmp_path / "run").config
    assert (config["task"], config["rule"], config["seed"]) == ("toy", "eprop", 5)
    assert config["options"]["steps"] == 3
    assert {"torch", "tracetorch", "python", "numpy"} <= set(config["versions"])
    with safe_open(str(tmp_path / "run" / "weights.safetensors"), framework="pt") as file:
        assert set(file.keys()) == set(result.trainer.net.state_dict())


def test_a_run_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="overwrites nothing"):
        fit(Toy(steps=1), run=tmp_path)


def test_default_path_is_new(tmp_path: Path) -> None:
    first = default_path(tmp_path, "clicks", "traced_bptt:4", "0")
    first.mkdir()
    assert default_path(tmp_path, "clicks", "traced_bptt:4", "0") != first
    assert ":" not in first.name


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda run: (run / "config.json").unlink(), FileNotFoundError, "holds no run"),
        (lambda run: (run / "config.json").write_text("{"), ValueError, "no readable JSON"),
        (lambda run: (run / "config.json").write_text('{"format": 99}'), ValueError, "of another version"),
        (lambda run: (run / "state.safetensors").unlink(), FileNotFoundError, "has no checkpoint"),
        (lambda run: (run / "state.safetensors").write_bytes(b"x" * 99), ValueError, "no readable safetensors"),
    ],
)
def test_spoilt_folders_are_told(spoil, error, message, tmp_path: Path) -> None:
    fit(Toy(steps=1), run=tmp_path / "run")
    spoil(tmp_path / "run")
    with pytest.raises(error, match=message):
        reopen(tmp_path / "run", task=Toy(steps=1))


def test_another_network_is_told(tmp_path: Path) -> None:
    fit(Toy(steps=1), run=tmp_path / "run")
    with pytest.raises(ValueError, match="is a run of task 'toy', not of 'toy-stream'"):
        reopen(tmp_path / "run", task=ToyStream(steps=1))
    with pytest.raises(ValueError, match="is a run of rule cascade, not of eprop"):
        reopen(tmp_path / "run", task=Toy(steps=1), rule="eprop")
    with pytest.raises(
        ValueError, match=r"run\.weights\.0\.synapse\.weight: expected a tensor torch.float32 \[16, 4\]"
    ):
        reopen(tmp_path / "run", task=Wide(steps=1))


class Wide(Toy):
    def network(self) -> torch.nn.Module:
        net = super().network()
        net[0] = tt.Layer(torch.nn.Linear(4, 16), tt.LIF(half_life=3.0))
        return net


def test_an_unknown_task_must_be_passed(tmp_path: Path) -> None:
    fit(Toy(steps=1), run=tmp_path / "run")
    with pytest.raises(ValueError, match="pass the task itself"):
        reopen(tmp_path / "run")


def test_configuration_is_plain_json() -> None:
    json.dumps(describe(Trainer(Toy())))
