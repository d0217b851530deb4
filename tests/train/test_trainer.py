"""The loop: what it tells, in which order, and that it leaves the caller's random state alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from train.toy import Toy, ToyStream

import tracetorch as tt
from tracetorch.train import (
    Evaluated,
    Evaluating,
    Finished,
    Logged,
    Progressed,
    Trainer,
    fit,
    read_choice,
)


def test_events_come_in_order() -> None:
    trainer = Trainer(Toy(steps=5, eval_every=3), log_every=2)
    kinds = [(type(event).__name__, event.iteration) for event in trainer.events()]
    assert kinds == [
        ("Progressed", 1),
        ("Progressed", 2),
        ("Logged", 2),
        ("Progressed", 3),
        ("Evaluating", 3),
        ("Evaluated", 3),
        ("Progressed", 4),
        ("Logged", 4),
        ("Progressed", 5),
        ("Logged", 5),
        ("Evaluating", 5),
        ("Evaluated", 5),
        ("Finished", 5),
    ]


def test_records_hold_means_and_scores() -> None:
    losses: list[float] = []
    records: list[dict] = []
    for event in Trainer(Toy(steps=4, eval_every=4), log_every=4).events():
        if isinstance(event, Progressed):
            losses.append(event.stats["loss"])
        elif isinstance(event, (Logged, Evaluated)):
            records.append(dict(event.record))
    assert [record["kind"] for record in records] == ["train", "eval", "test"]
    assert records[0]["loss"] == pytest.approx(sum(losses) / 4)
    assert records[0]["time_step"] == 40
    assert 0.0 <= records[2]["accuracy"] <= 1.0
    assert records[0]["memory_mb"] > 1.0


def test_the_callers_random_state_is_left_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    fit(Toy(steps=2))
    assert torch.equal(before, torch.get_rng_state())


def test_a_run_depends_on_its_seed_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.rand(3)
        return fit(Toy(steps=3, seed=seed)).trainer.net.get_parameter("0.synapse.weight").detach()

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_the_schedule_is_followed() -> None:
    trainer = Trainer(Toy(steps=3, lr=0.1))
    list(trainer.events())
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 3)


def test_the_optimizer_rests_where_there_is_no_loss() -> None:
    trainer = Trainer(ToyStream(steps=3))
    weights = []
    for event in trainer.events():
        if isinstance(event, Progressed):
            weights.append(trainer.net.get_parameter("0.synapse.weight").detach().clone())
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])


def test_evaluation_leaves_the_net_in_training_mode() -> None:
    trainer = Trainer(Toy())
    trainer.evaluate()
    assert trainer.net.training


def test_stop_ends_after_the_iteration() -> None:
    trainer = Trainer(Toy(steps=10))
    events = []
    for event in trainer.events():
        events.append(event)
        if event.iteration == 2 and isinstance(event, Progressed):
            trainer.stop()
    assert events[-1] == Finished(2, complete=False)
    assert not any(isinstance(event, Evaluating) and not event.quick for event in events)


def test_stop_before_the_start_is_heard() -> None:
    trainer = Trainer(Toy(steps=3))
    trainer.stop()
    assert list(trainer.events()) == [Finished(0, complete=False)]
    assert list(trainer.events())[-1] == Finished(3, complete=True)


def test_a_stream_task_is_not_shared_between_runs() -> None:
    task = ToyStream(steps=6)
    first = fit(task)
    assert first.trainer.task is not task
    assert fit(task).scores == first.scores


def test_on_event_is_called_and_may_stop() -> None:
    seen = []

    def watch(trainer: Trainer, event: object) -> None:
        seen.append(event)
        trainer.stop()

    result = fit(Toy(steps=9), on_event=watch)
    assert result.trainer.iteration == 1
    assert result.scores == {}


def test_library_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    fit(Toy(steps=2))
    assert capfd.readouterr() == ("", "")


def test_log_every_must_be_positive() -> None:
    with pytest.raises(ValueError, match="log_every must be at least 1, got 0"):
        Trainer(Toy(), log_every=0)


def test_state_in_the_midst_of_an_iteration_is_refused() -> None:
    trainer = Trainer(Toy())
    trainer.consistent = False
    with pytest.raises(RuntimeError, match="broken off in its middle"):
        trainer.state_dict()


@pytest.mark.parametrize("name", sorted(tt.rules.PRESETS))
def test_every_rule_can_be_named(name: str) -> None:
    choice = read_choice(name)
    assert choice.rule == tt.rules.PRESETS[name]()
    assert choice.options == {}
    fit(Toy(steps=1), rule=name)


def test_choice_reads_windows_arguments_and_frozen() -> None:
    assert read_choice("traced_bptt:4").apply(Toy()).options()["window"] == 4
    assert read_choice("eprop:kappa=0.9").rule == tt.rules.eprop(kappa=0.9)
    assert read_choice("ottt:approximate=true").rule == tt.rules.ottt(approximate=True)
    assert read_choice("drtrl:input=gain").rule == tt.rules.drtrl(input="gain")
    assert read_choice("sltt:feedback=random").rule == tt.rules.sltt(feedback=tt.feedback.RandomFeedback())
    assert read_choice("trace:buckets=2").rule == tt.rules.trace(buckets=2)
    assert read_choice("frozen").apply(Toy()).frozen


def test_frozen_keeps_the_hidden_layer() -> None:
    trainer = Trainer(Toy(steps=3), rule="frozen")
    before = {name: p.detach().clone() for name, p in trainer.net.named_parameters()}
    list(trainer.events())
    after = dict(trainer.net.named_parameters())
    assert torch.equal(before["0.synapse.weight"], after["0.synapse.weight"])
    assert not torch.equal(before["2.synapse.weight"], after["2.synapse.weight"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "no rule 'nope': choose one of"),
        ("tbptt:0", "'0' is neither a window"),
        ("tbptt:x", "'x' is neither a window"),
        ("trace:size=3", "rule 'trace' takes no 'size'"),
        ("eprop:feedback=loud", "no feedback 'loud'"),
    ],
)
def test_wrong_words_are_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_choice(text)


def test_a_window_needs_a_task_that_has_one() -> None:
    with pytest.raises(ValueError, match="sets the option 'window', which task 'toy-stream' does not have"):
        Trainer(ToyStream(), rule="tbptt:4")


def test_a_rule_may_be_a_rule() -> None:
    trainer = Trainer(replace(Toy(), steps=1), rule=tt.rules.eprop(kappa=0.5))
    assert "eprop" in trainer.choice.text
