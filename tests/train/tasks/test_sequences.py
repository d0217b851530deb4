"""Drawn sequences are answered by an observer that reads the spikes alone; no person is on both sides of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tracetorch.data import DataNotFoundError
from tracetorch.train.tasks import TASKS
from tracetorch.train.tasks.classification import UNLABELLED
from tracetorch.train.tasks.randman import along
from tracetorch.train.tasks.recordings import FOLDS, held_out_persons
from tracetorch.train.tasks.yin_yang import regions


def counts(x: Tensor, channels: int) -> Tensor:
    """Return the spikes of each group of channels, `[T, B, groups]`."""
    return x.float().unflatten(-1, (-1, channels)).sum(-1)


def test_evidence_is_the_side_with_more_cues() -> None:
    task = TASKS["evidence"](trials=400)
    batch = task.batch(0)
    period, answers = task.step(task.cue + task.gap), []
    spikes = counts(batch.x, task.channels)[: task.cues * period, :, :2].unflatten(0, (task.cues, period)).sum(1)
    for row in range(batch.x.shape[1]):
        answers.append(int((spikes[:, row, 1] > spikes[:, row, 0]).sum() > task.cues / 2))
    y = batch.y[-1]
    assert 0.2 < float(y.float().mean()) < 0.8
    assert float((torch.tensor(answers) == y).float().mean()) > 0.93
    assert torch.equal(y, (batch.extra["cues"].sum(1) * 2 > task.cues).long())


def test_store_recall_asks_for_the_last_bit_that_was_stored() -> None:
    task = TASKS["store-recall"](on=1.0, off=0.0)
    batch = task.batch(0)
    shown = counts(batch.x, task.channels)[:: task.token_steps] > 0
    due = batch.y[task.token_steps - 1 :: task.token_steps]
    seen = 0
    for row in range(batch.x.shape[1]):
        stored = None
        for token in range(task.tokens):
            zero, one, store, recall = shown[token, row].tolist()
            if store:
                stored = int(one)
                assert one != zero
            if recall:
                seen += 1
                assert int(due[token, row]) == stored
            else:
                assert int(due[token, row]) == UNLABELLED
    assert seen >= batch.x.shape[1]


def test_delayed_xor_needs_both_bits() -> None:
    task = TASKS["delayed-xor"](on=1.0, off=0.0, batch_size=200)
    batch = task.batch(0)
    shown, period = counts(batch.x, task.channels) > 0, task.cue_steps + task.delay
    first, second = shown[0, :, 1].long(), shown[period, :, 1].long()
    y = batch.y[-1]
    assert torch.equal(first ^ second, y)
    for alone in (first, second):  # the control: one bit tells nothing
        assert 0.35 < float((alone == y).float().mean()) < 0.65
    assert bool((batch.y[: -task.cue_steps] == UNLABELLED).all())


def test_copy_asks_for_the_symbols_in_their_order() -> None:
    task = TASKS["copy"](on=1.0, off=0.0)
    batch = task.batch(0)
    length = task.length * task.symbol_steps
    symbol = counts(batch.x, task.channels)[:length, :, :-1].argmax(-1)
    assert torch.equal(batch.y[-length:], symbol)
    assert bool((batch.y[:-length] == UNLABELLED).all())
    due = task.scored(batch.y)
    assert int((due != UNLABELLED).sum()) == task.length * batch.x.shape[1]


def test_match_needs_both_stimuli() -> None:
    task = TASKS["match"](on=1.0, off=0.0, batch_size=400)
    batch = task.batch(0)
    shown = counts(batch.x, task.channels).argmax(-1)
    first, second = shown[0], shown[-1]
    assert torch.equal((first == second).long(), batch.y[-1])
    assert 0.4 < float(batch.y[-1].float().mean()) < 0.6
    for stimulus in range(task.stimuli):  # the control: one stimulus tells nothing
        for alone in (first, second):
            assert 0.3 < float(batch.y[-1][alone == stimulus].float().mean()) < 0.7
    assert bool((batch.y[: -task.cue_steps] == UNLABELLED).all())


def test_adding_is_the_number_of_marked_ones() -> None:
    task = TASKS["adding"](batch_size=500)
    batch = task.batch(0)
    bits, marked = batch.x.unbind(-1)
    assert torch.equal(batch.y[-1], (bits * marked).sum(0).long())
    assert bool((marked.sum(0) == task.marks).all()) and batch.x.shape[0] == 100
    assert 0.45 < float(bits.mean()) < 0.55
    most = float(batch.y[-1].bincount().max() / 500)
    assert 0.15 < most < 0.35  # the control: the best constant answer


def test_yin_yang_points_are_read_from_their_spikes() -> None:
    task = TASKS["yin-yang"](batch_size=3000, time_steps=200)
    batch = task.batch(0)
    assert bool((batch.x.sum(0) == 1).all())
    times = batch.x.argmax(0).double() / (task.time_steps - 1)
    torch.testing.assert_close(times[:, :2], batch.extra["points"], rtol=0, atol=0.51 / 199)
    torch.testing.assert_close(times[:, :2] + times[:, 2:4], torch.ones(3000, 2).double(), rtol=0, atol=1.01 / 199)
    right = (regions(times[:, :2]) == batch.y[-1]).float().mean()
    assert float(right) > 0.94  # but for points at a border
    assert batch.y[-1].bincount().min() > 900


def test_yin_and_yang_are_each_others_mirror() -> None:
    points = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    here, there = regions(points), regions(1 - points)
    swapped = torch.tensor([1, 0, 2, -1])
    assert float((there == swapped[here]).double().mean()) > 0.999
    assert torch.isin(here, torch.tensor([-1, 0, 1, 2])).all()
    assert float((here == 2).double().mean()) == pytest.approx(2 * np.pi * 0.01, abs=0.01)


def test_randman_points_lie_on_the_manifold_of_their_class() -> None:
    task = TASKS["randman"](batch_size=2000, time_steps=200)
    x, y = (
        torch.cat(part) for part in zip(*((b.x.argmax(0), b.y[-1]) for b in map(task.batch, range(2))), strict=True)
    )
    new = task.batch(7)
    distance = torch.cdist(new.x.argmax(0).double(), x.double())
    assert float((y[distance.argmin(1)] == new.y[-1]).double().mean()) > 0.98  # nearest of what was seen
    assert bool((new.x.sum(0) == 1).all())
    other = TASKS["randman"](batch_size=2000, time_steps=200, seed=1).batch(7)  # the control: other manifolds
    distance = torch.cdist(other.x.argmax(0).double(), x.double())
    assert float((y[distance.argmin(1)] == other.y[-1]).double().mean()) < 0.4


def test_randman_is_smooth_in_its_coordinate() -> None:
    task = TASKS["randman"]()
    series = task._series[0][:, 0]
    places = torch.linspace(0, 1, 1001, dtype=torch.float64).unsqueeze(1)
    step = along(places, series, task.smoothness).diff(dim=0).abs().amax()
    assert 0 < float(step) < 0.05


def test_pattern_is_the_same_in_all_iterations_and_of_variance_one() -> None:
    task = TASKS["pattern"]()
    batch = task.batch(0)
    assert torch.equal(batch.x, task.batch(9).x)
    torch.testing.assert_close(batch.y.mean(0), torch.zeros(1, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.y.square().mean(0), torch.ones(1, 3))
    power = torch.fft.rfft(batch.y[:, 0], dim=0).abs().square()
    few = power[torch.tensor([1, 2, 3, 5])].sum(0) / power.sum(0)
    assert float(few.min()) > 0.999
    net = task.build()
    with torch.no_grad():
        for p in list(net.parameters())[-2:]:
            p.zero_()
    assert task.evaluate(net)["nmse"] == pytest.approx(1.0, abs=1e-5)  # a constant


def test_permuted_digits_show_each_pixel_once() -> None:
    pytest.importorskip("sklearn")
    task, other = TASKS["psdigits"](), TASKS["psdigits"](seed=1)
    images = task._images
    shown = task.encode(images.x_test[:5], torch.Generator())
    assert shown.shape == (64, 5, 1)
    assert torch.equal(task.order.sort().values, torch.arange(64)) and torch.equal(task.order, other.order)
    back = torch.empty(5, 64)
    back[:, task.order] = shown[..., 0].T
    torch.testing.assert_close(back, images.x_test[:5].flatten(1) * (task.gain / 255.0))


@pytest.mark.parametrize("name", ["evidence", "store-recall", "delayed-xor", "copy", "match", "adding", "yin-yang"])
def test_batches_depend_on_seed_and_iteration_alone(name: str) -> None:
    task, same, other = TASKS[name](), TASKS[name](), TASKS[name](seed=1)
    assert torch.equal(task.batch(3).x, same.batch(3).x)
    assert not torch.equal(task.batch(3).x, task.batch(4).x)
    assert not torch.equal(task.batch(3).x, other.batch(3).x)


@pytest.mark.parametrize("fold", range(FOLDS))
def test_each_person_is_held_out_in_one_fold(fold: int) -> None:
    person = torch.randint(0, 40, (300,), generator=torch.Generator().manual_seed(0))
    held = held_out_persons(person, fold)
    assert not set(person[held].tolist()) & set(person[~held].tolist())
    assert sum(held_out_persons(person, f).int() for f in range(FOLDS)).eq(1).all()


@pytest.fixture
def motion(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(20, dtype=np.uint8) % 5, 30)
    x = rng.normal(size=(600, 6)).astype(np.float32) + label[:, None]
    subject = np.repeat(np.arange(5, dtype=np.uint8), 2)
    np.savez(tmp_path / "har_geotec.npz", x=x, label=label, offsets=np.arange(0, 601, 60), subject=subject)
    return tmp_path


def test_no_person_of_the_held_out_windows_is_trained_on(motion: Path) -> None:
    task = TASKS["har"](data=str(motion), seconds=0.2, batch_size=32)
    trained = {int(p) for i in range(10) for p in task.batch(i).extra["person"]}
    held = {int(p) for batch in task.held_out(quick=False) for p in batch.extra["person"]}
    assert held == {0} and trained == {1, 2, 3, 4}


def test_windows_of_motion_are_means_of_samples_of_one_recording(motion: Path) -> None:
    task = TASKS["har"](data=str(motion), seconds=0.2)
    part = task._parts[0]
    ends = part.ends[[0, 7, -1]]
    x, y = task.cut(part, ends)
    length = task.time_steps * task.every
    for row, end in enumerate(ends.tolist()):
        window = part.x[end - length + 1 : end + 1].reshape(task.time_steps, task.every, 6).mean(1)
        torch.testing.assert_close(x[:, row], window)
        assert int(y[-1, row]) == int(part.y[end])
        assert (end - length + 1) // 60 == end // 60


@pytest.mark.parametrize(("name", "file"), [("har", "har_geotec.npz"), ("speech", "gsc_test_8k.npz")])
def test_a_file_that_is_absent_is_named_with_its_recipe(name: str, file: str, tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=f"{file}.*'tracetorch data' shows how to make it"):
        TASKS[name](data=str(tmp_path)).prepare()


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("har", {"every": 0}),
        ("speech", {"coding": "x"}),
        ("speech", {"time_steps": 101}),
        ("evidence", {"cues": 4}),
        ("store-recall", {"command": 1.5}),
        ("delayed-xor", {"delay": -1}),
        ("copy", {"loss": "last"}),
        ("digits", {"hidden_layers": 0}),
        ("match", {"stimuli": 1}),
        ("adding", {"time_steps": 5}),
        ("yin-yang", {"time_steps": 1}),
        ("randman", {"dimensions": 0}),
        ("pattern", {"chance": 0.0}),
        ("psdigits", {"hidden_layers": 0}),
    ],
)
def test_bad_options_raise(name: str, bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        TASKS[name](**bad)
