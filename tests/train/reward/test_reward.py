"""Runs from reward: their log and checkpoints, resume, what a failure leaves, the controls."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import tracetorch as tt
from tracetorch.rl.envs import EnvironmentDied, MemoryChain
from tracetorch.train import begin, fit, recorded, reopen
from tracetorch.train.drawing import run_figures
from tracetorch.train.recording import make_runner
from tracetorch.train.reward.base import CONTROLS
from tracetorch.train.reward.gru import GRUBody
from tracetorch.train.reward.remember import Chain
from tracetorch.train.schema import RunFileError
from tracetorch.train.tasks import make

SMALL = {"length": 5, "steps": 120, "chunk": 20, "hidden": 4, "eval_every": 2}


def weights(run) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.net.parameters()])


def lived(run, until: int | None = None):
    for _ in run.events(until):
        pass
    return run


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("control", ["none", "gru"])
def test_a_resumed_run_is_the_run_that_never_stopped(at, rows, control, tmp_path: Path):
    task = make("memorychain", {**SMALL, "rows": rows, "control": control})
    whole = lived(make_runner(task))
    part = make_runner(task)
    folder = begin(part, tmp_path / "run")
    for event in recorded(part, folder):
        if event.iteration == at:
            part.stop()
    assert part.iteration == at and part.stream.state_dict()["envs"][0]["actions"]
    again, folder = reopen(tmp_path / "run", resume=True)
    for _ in recorded(again, folder):
        pass
    assert torch.equal(weights(again), weights(whole))
    assert again.evaluate()["episodes"] == whole.evaluate()["episodes"] > 10
    steps = [r["time_step"] for r in folder.records() if r["kind"] == "eval"]
    assert steps == [40, 80, 120]


def test_a_damaged_state_of_the_optimizer_names_file_and_field(tmp_path: Path):
    run = lived(make_runner(make("memorychain", SMALL)), until=1)
    state = copy.deepcopy(run.state_dict())
    moments = state["stream"]["agent"]["step"]["optimizer"]["state"][0]
    moments["exp_avg"] = moments["exp_avg"][:1]
    with pytest.raises(RunFileError, match=r"stream\.agent\.step\.optimizer\.state\.0\.exp_avg: expected a tensor"):
        make_runner(make("memorychain", SMALL)).load_state_dict(state)


@dataclass(frozen=True, kw_only=True, eq=False)
class Failing(Chain):
    """An environment that gives NaN, or dies, at its 70th step."""

    name: ClassVar[str] = "failing"

    def environment(self, *, render: bool = False):
        deadly = self.distractors == 1

        class Env(MemoryChain):
            count = 0

            def step(self, action):
                Env.count += 1
                if Env.count == 70 and deadly:
                    raise OSError("the cable broke")
                x, r, *rest = super().step(action)
                return x, math.nan if Env.count == 70 else r, *rest

        return Env(self.length, distractors=self.distractors)


class Mended(Chain):
    """The same task with an environment that works."""

    name: ClassVar[str] = "failing"


@pytest.mark.parametrize(
    ("distractors", "error", "text"),
    [(0, FloatingPointError, "reward that is not finite"), (1, EnvironmentDied, "OSError: the cable broke")],
)
def test_a_failure_leaves_the_last_good_checkpoint(distractors, error, text, tmp_path: Path):
    task = Failing(length=5, steps=200, chunk=20, hidden=4, distractors=distractors)
    run = make_runner(task)
    folder = begin(run, tmp_path / "run")

    def go():
        for _ in recorded(run, folder, save_seconds=0.0):
            pass

    with pytest.raises(error, match=text):
        go()
    good = Mended(length=5, steps=200, chunk=20, hidden=4, distractors=distractors)
    again, _ = reopen(tmp_path / "run", task=good, resume=True)
    assert again.iteration == 3
    lived(again)
    assert bool(weights(again).isfinite().all())


def test_there_is_a_checkpoint_from_the_start(tmp_path: Path):
    run = make_runner(Failing(length=5, steps=200, chunk=100, hidden=4))
    folder = begin(run, tmp_path / "run")
    with pytest.raises(FloatingPointError):
        list(recorded(run, folder))
    assert (tmp_path / "run" / "state.safetensors").is_file()


@pytest.mark.parametrize("control", CONTROLS)
def test_controls(control):
    task = make("memorychain", {**SMALL, "control": control})
    run = lived(make_runner(task), until=2)
    agent = run.stream.agent
    assert (agent.lam == 0.0) == (control == "lambda0")
    assert isinstance(agent.step, tt.rl.FixedStep) == (control == "no-bound")
    rules = {layer.rule.name for layer in tt.layers(run.net).values()}
    assert rules == ({"sltt"} if control == "truncated" else set() if control == "gru" else {"drtrl"})
    assert isinstance(agent.body, GRUBody) == (control == "gru")
    assert bool(weights(run).isfinite().all())


@pytest.mark.parametrize("compiled", [True, False])
def test_without_state_the_cue_is_gone(compiled):
    agent = make("memorychain", {**SMALL, "control": "reset-state", "compiled": compiled}).agent(tt.rules.drtrl())
    outputs = []
    for cue in (-1.0, 1.0):
        for x in ([cue, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]):
            outputs.append(agent.body.forward(torch.tensor([x])))
            agent.body.credit(agent.trace, torch.zeros(1, 3))
    assert torch.equal(outputs[1], outputs[3]) and not torch.equal(outputs[0], outputs[2])


def test_a_rules_word_may_not_set_what_the_task_lacks():
    with pytest.raises(ValueError, match="window"):
        make_runner(make("memorychain", SMALL), rule="traced_bptt:4")
    with pytest.raises(ValueError, match=r"'control' of task .*expected one of"):
        make("memorychain", {"control": "nothing"})


def test_figures_of_a_run(tmp_path: Path):
    pytest.importorskip("matplotlib")
    result = fit(make("memorychain", SMALL), run=tmp_path / "run")
    figures = run_figures(result.trainer, result.records)
    assert {"learning_curve", "half_lives", "traces"} <= set(figures)
    assert figures["learning_curve"].axes[-1].get_xlabel() == "step of the environment"


@pytest.mark.parametrize("task", ["clicks-reward", "digits-reward"])
def test_guesses_learn_from_reward_alone(task):
    pytest.importorskip("sklearn")
    options = {"steps": 3, "batch_size": 8, "hidden": 8}
    run = lived(make_runner(make(task, options)))
    assert 0.0 <= run.evaluate(quick=True)["accuracy"] <= 1.0
    assert run.net[-1].synapse.out_features == (3 if task == "clicks-reward" else 11)


def test_the_guesss_gradient_is_that_of_its_objective():
    from tracetorch.rl import Categorical
    from tracetorch.train.reward.guess import guessed

    output = torch.randn(5, 4, dtype=torch.float64).requires_grad_()
    label = torch.tensor([0, 1, 2, 0, 1])
    torch.manual_seed(0)
    outcome = guessed(output, label, entropy=0.1, value_weight=0.5)
    (found,) = torch.autograd.grad(outcome.loss, output)
    torch.manual_seed(0)
    policy = Categorical(3)
    action = policy.sample(output.detach()[:, :3])
    reward = (action == label).double()
    value = output[:, 3]
    advantage = (reward - value).detach()
    score = (
        policy.distribution(output[:, :3]).log_prob(action) * advantage
        + 0.1 * policy.distribution(output[:, :3]).entropy()
    )
    (expected,) = torch.autograd.grad((-score + 0.25 * (reward - value) ** 2).mean(), output)
    torch.testing.assert_close(found, expected)
    assert outcome.stats["accuracy"] == pytest.approx(float(reward.mean()))


def test_the_ideal_observer_of_clicks_counts():
    task = make("clicks-reward", {"trials": 400})
    (batch,) = task.held_out(quick=False)
    rates = batch.x.mean(0)[torch.arange(400), batch.y]
    assert abs(float(rates.mean()) - 0.3) < 0.02
    assert 0.93 < task.evaluate(task.build())["observer"] < 0.99


def test_numbers_of_a_run_are_plain():
    run = lived(make_runner(make("memorychain", SMALL)))
    scores = run.evaluate()
    assert next(iter(scores)) == "return" and all(isinstance(v, float) for v in scores.values())
    assert np.isnan(scores["steps_to_goal"]) or scores["steps_to_goal"] <= 120
