"""What holds for every task: options, resumption, losses of every rule, freezing, scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tracetorch as tt
from tracetorch.train.tasks import TASKS, Task
from tracetorch.train.tasks.ecg import ECG

SMALL = {
    "clicks": {"hidden": 6, "batch_size": 4, "trials": 30, "click_seconds": 1.0, "silence_seconds": 0.5},
    "digits": {"hidden": 24, "batch_size": 8},
    "mnist": {"hidden": 6, "batch_size": 8, "time_steps": 4},
    "fashion": {"hidden": 6, "batch_size": 8, "time_steps": 4},
    "ecg": {"hidden": 6, "record": 100},
    "har": {"hidden": 6, "batch_size": 4, "seconds": 0.2},
    "speech": {"hidden": 6, "batch_size": 4, "time_steps": 8, "bands": 5},
    "evidence": {"hidden": 6, "batch_size": 4, "trials": 20, "dt": 25.0, "cues": 3, "delay": 100.0},
    "store-recall": {"hidden": 6, "batch_size": 4, "trials": 20},
    "delayed-xor": {"hidden": 6, "batch_size": 4, "trials": 20},
    "copy": {"hidden": 6, "batch_size": 4, "trials": 20},
    "match": {"hidden": 6, "batch_size": 4, "trials": 20},
    "adding": {"hidden": 6, "batch_size": 4, "trials": 20, "time_steps": 20},
    "yin-yang": {"hidden": 12, "batch_size": 4, "trials": 20},
    "randman": {"hidden": 12, "batch_size": 4, "trials": 20},
    "pattern": {"hidden": 12, "time_steps": 40},
    "psdigits": {"hidden": 12, "batch_size": 8},
    "psmnist": {"hidden": 6, "batch_size": 8},
}


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write small stand-ins for the data files."""
    directory = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("mnist", "fashion_mnist"):
        images = {f"x_{part}": rng.integers(0, 256, (40, 28, 28), dtype=np.uint8) for part in ("train", "test")}
        labels = {f"y_{part}": rng.integers(0, 10, 40, dtype=np.uint8) for part in ("train", "test")}
        np.savez(directory / f"{name}.npz", **images, **labels)
    beat = np.arange(50, 4000, 200)
    np.savez(
        directory / "mitbih12.npz",
        ecg=rng.normal(0, 100, (1, 4000)).astype(np.int16),
        gain=np.float32(200),
        fs=np.float32(360),
        record=np.array(["100"]),
        beat=beat,
        beat_offsets=np.array([0, len(beat)]),
        beat_is_pvc=rng.random(len(beat)) < 0.5,
    )
    np.savez(
        directory / "har_geotec.npz",
        x=rng.normal(size=(600, 6)).astype(np.float32),
        label=rng.integers(0, 5, 600, dtype=np.uint8),
        offsets=np.arange(0, 601, 60),
        subject=np.repeat(np.arange(5, dtype=np.uint8), 2),
    )
    np.savez(
        directory / "gsc_test_8k.npz",
        wave=rng.normal(0, 3000, 24 * 8000).astype(np.int16),
        label=np.arange(24, dtype=np.uint8) % 12,
        speaker=np.repeat(np.arange(12, dtype=np.int16), 2) - 1,
    )
    return directory


def small(name: str, files: Path, **changes: object) -> Task:
    if name in ("digits", "psdigits"):
        pytest.importorskip("sklearn")
    options = {**SMALL[name], **changes}
    if "data" in {f.name for f in dataclasses.fields(TASKS[name])}:
        options["data"] = str(files)
    task = TASKS[name](**options)
    task.prepare()
    return task


def train(task: Task, net: nn.Module, optimizer: torch.optim.Optimizer, iterations: range) -> list[float]:
    losses = []
    for iteration in iterations:
        batch = task.batch(iteration)
        task.schedule(optimizer, iteration)
        optimizer.zero_grad()
        for outcome in task.losses(net, batch):
            if outcome.loss is not None:
                outcome.loss.backward()
                losses.append(float(outcome.loss.detach()))
        optimizer.step()
    return losses


# Tasks with rewards have environments, or draw their guesses: tests/train/reward has them.
every = pytest.mark.parametrize("name", SMALL)


@every
def test_every_option_has_a_default_a_type_and_a_line_of_help(name: str) -> None:
    task = TASKS[name]
    assert task.name == name and task.summary and task.__doc__
    for field in dataclasses.fields(task):
        assert field.default is not dataclasses.MISSING and field.metadata["help"], field.name
    assert set(task().options()) == {field.name for field in dataclasses.fields(task)}
    for preset in task.presets.values():
        dataclasses.replace(task(), **preset)


@every
def test_the_same_seed_builds_the_same_and_leaves_the_callers_random_state(name: str, files: Path) -> None:
    state = torch.get_rng_state()
    a, b = small(name, files).build(), small(name, files).build()
    c = small(name, files, seed=1).build()
    assert torch.equal(torch.get_rng_state(), state)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
    assert any(not torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True))


@every
def test_a_run_that_stops_and_resumes_is_the_run_that_did_not(name: str, files: Path) -> None:
    task = small(name, files)
    net = task.build()
    optimizer = task.optimizer(net)
    whole = train(task, net, optimizer, range(6))

    first = small(name, files)
    stopped = first.build()
    optimizer = first.optimizer(stopped)
    begun = train(first, stopped, optimizer, range(3))
    saved = (stopped.state_dict(), optimizer.state_dict(), tt.get_state(stopped), first.state_dict())

    second = small(name, files)
    resumed = second.build()
    optimizer = second.optimizer(resumed)
    resumed.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    if second.is_stream:
        tt.set_state(resumed, saved[2])
    second.load_state_dict(saved[3])
    assert begun + train(second, resumed, optimizer, range(3, 6)) == whole
    for p, q in zip(net.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(p, q)
    assert task.evaluate(net)[task.metric] == second.evaluate(resumed)[task.metric]


@every
@pytest.mark.parametrize("rule", ["bptt", "tbptt", "sltt", "traced_bptt", "eprop", "drtrl", "trace", "rate"])
def test_every_rule_gets_a_finite_loss_and_a_gradient_in_every_layer(name: str, rule: str, files: Path) -> None:
    if name == "ecg" and rule in ("bptt", "rate"):
        pytest.skip(f"{rule} wants a whole sequence, and a stream has no end")
    task = small(name, files)
    net = task.build()
    tt.set_rule(net, tt.rules.PRESETS[rule]())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    assert all(np.isfinite(train(task, net, optimizer, range(2))))
    for layer in tt.layers(net).values():
        assert layer.synapse.weight.grad is not None
        assert layer.synapse.weight.grad.abs().sum() > 0


@every
def test_frozen_trains_the_readout_only(name: str, files: Path) -> None:
    task = small(name, files, frozen=True)
    net = task.build()
    before = {key: p.clone() for key, p in net.named_parameters()}
    train(task, net, task.optimizer(net), range(2))
    readout = list(tt.layers(net))[-1]
    changed = {key for key, p in net.named_parameters() if not torch.equal(p, before[key])}
    assert changed and all(key.startswith(readout + ".") for key in changed)


@every
def test_scores_begin_with_the_metric_and_figures_hold_arrays(name: str, files: Path) -> None:
    task = small(name, files)
    net = task.build()
    train(task, net, task.optimizer(net), range(2))
    for quick in (True, False):
        scores = task.evaluate(net, quick=quick)
        assert next(iter(scores)) == task.metric
        assert all(isinstance(value, float) for value in scores.values())
    figures = task.figures(net)
    assert figures["input"].dim() == 2
    assert figures["spikes.0"].shape == (len(figures["input"]), SMALL[name]["hidden"])
    assert len(figures["output"]) == len(figures["input"])


@pytest.mark.parametrize("name", ["clicks", "digits", "mnist"])
def test_windows_end_where_the_whole_ends(name: str, files: Path) -> None:
    whole, cut = small(name, files), small(name, files, window=3)
    net = whole.build()
    tt.set_rule(net, tt.rules.sltt())
    a = [outcome.stats["loss"] for outcome in whole.losses(net, whole.batch(0))]
    b = [outcome.stats["loss"] for outcome in cut.losses(net, whole.batch(0))]
    assert a == pytest.approx(b, rel=1e-5)


def test_the_windows_losses_add_up_to_the_loss_at_every_step(files: Path) -> None:
    whole, cut = (small("digits", files, loss="every", window=window) for window in (None, 5))
    net = whole.build()
    tt.set_rule(net, tt.rules.drtrl())
    for task in (whole, cut):
        net.zero_grad()
        train(task, net, torch.optim.SGD(net.parameters(), lr=0.0), range(0))
        for outcome in task.losses(net, task.batch(0)):
            assert outcome.loss is not None
            outcome.loss.backward()
        grads = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        if task is whole:
            expected = grads
    for got, want in zip(grads, expected, strict=True):
        assert torch.allclose(got, want, rtol=1e-4, atol=1e-6)


def test_a_stream_is_scored_by_what_was_answered_before_learning(files: Path) -> None:
    task = small("ecg", files)
    net = task.build()
    train(task, net, task.optimizer(net), range(task.iterations))
    scores = task.evaluate(net)
    assert scores["beats"] == 20 and (task._answers >= 0).all()
    late = task._decisions >= 4000 * 2 / 3
    right = (task._answers[late] == 1) == task._record.pvc[late]
    label = task._record.pvc[late]
    expected = (right[label].float().mean() + right[~label].float().mean()) / 2
    assert scores["balanced accuracy"] == pytest.approx(float(expected))
    state = tt.get_state(net)
    task.figures(net)
    for key, value in tt.get_state(net).items():
        assert torch.equal(value, state[key]), key


def test_the_parts_of_a_stream_meet_without_gap_or_overlap(files: Path) -> None:
    task = small("ecg", files)
    joined = torch.cat([task.batch(i).x for i in range(task.iterations)])
    assert torch.equal(joined.squeeze(1), task._inputs) and len(joined) == 4000


@pytest.mark.parametrize("coding", ["currents", "delta"])
def test_the_coding_of_a_stream_sees_no_future(coding: str, files: Path) -> None:
    task = small("ecg", files, coding=coding)
    inputs = task._inputs.clone()
    later = ECG(**{**SMALL["ecg"], "data": str(files), "coding": coding})
    later._record.signal[2000:] = 99.0
    assert torch.equal(later._inputs[:2000], inputs[:2000])
    assert not torch.equal(later._inputs[2000:], inputs[2000:])


def test_a_state_of_another_task_raises(files: Path) -> None:
    with pytest.raises(ValueError, match="keeps no state"):
        small("clicks", files).load_state_dict({"answers": torch.zeros(3)})
    with pytest.raises(ValueError, match="3 answers for 20 beats"):
        small("ecg", files).load_state_dict({"answers": torch.zeros(3), "resident": torch.zeros(2)})


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("digits", {"coding": "x"}),
        ("digits", {"loss": "x"}),
        ("mnist", {"window": 0}),
        ("ecg", {"delay": -1.0}),
    ],
)
def test_bad_options_raise(name: str, bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        TASKS[name](**bad)
