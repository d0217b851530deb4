"""Audit rules on a task: at its first weights, or after some training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

import tracetorch as tt
from tracetorch.testing.rule_audit import RuleAudit
from tracetorch.testing.rules_audit import Subject, audit_subjects
from tracetorch.testing.running import collected
from tracetorch.train.choice import read_choice
from tracetorch.train.events import Progressed
from tracetorch.train.tasks import Batch, Problem, Task
from tracetorch.train.trainer import Trainer


def audit_task(
    task: Problem,
    rules: Sequence[str],
    *,
    seeds: Iterable[int] = (0,),
    after: int = 0,
    trained_by: str = "bptt",
) -> RuleAudit:
    """Compare the gradients of several rules on a task's batch, with its own losses, and measure what they cost.

    The reference is the rule `bptt` on the same losses.

    Args:
        task: One of the tasks with losses; its seed is replaced.
        rules: The rules' words, as `read_choice` takes them.
        seeds: The seeds of weights and data.
        after: Number of training iterations before the audit.
        trained_by: The word of the rule that they are trained by.

    Returns:
        The audit.

    Raises:
        ValueError: The task learns from rewards, is a stream that was trained before, or a rule does not fit it.

    Example:
        >>> from tracetorch.train import audit_task, make
        >>> audit = audit_task(make("digits", {"hidden": 8, "batch_size": 4}), ["cascade", "sltt"])
        >>> audit.layers
        ('0', '1', '2')
    """
    if not isinstance(task, Task):
        raise ValueError(f"task {task.name!r} has no losses whose gradients an audit could compare: it has rewards")
    if after and task.is_stream:
        raise ValueError(f"task {task.name!r} is one stream, which an audit follows from its beginning only: after=0")
    if after < 0:
        raise ValueError(f"after is a number of iterations, at least 0, got {after}")
    choices = {word: read_choice(word) for word in dict.fromkeys(rules)}
    for choice in choices.values():
        if choice.options.get("frozen"):
            raise ValueError(f"rule {choice.text!r} trains the readout alone: name the rule itself")
        choice.apply(task)
    windows = {choice.rule: choice.options for choice in choices.values()}

    def subject(seed: int) -> Subject:
        mine = dataclasses.replace(task, seed=seed)
        trainer = trained(mine, trained_by, after)
        return of_task(trainer.task, trainer.net, trainer.task.batch(after), windows)

    return audit_subjects(subject, {word: choice.rule for word, choice in choices.items()}, tuple(dict.fromkeys(seeds)))


def trained(task: Task, rule: str, iterations: int) -> Trainer:
    """Return a run of a task after some iterations, nothing evaluated."""
    trainer = Trainer(dataclasses.replace(task, eval_every=iterations + 1), rule=rule)
    for event in trainer.events(until=iterations) if iterations else ():
        if isinstance(event, Progressed) and event.iteration == iterations:
            break
    return trainer


def of_task(task: Task, net: nn.Module, batch: Batch, windows: Mapping[tt.Rule, Mapping[str, Any]]) -> Subject:
    """Return the subject that a task's losses on one batch are; `windows` are a rule's own options of the task."""

    def run(twin: nn.Module) -> dict[str, Tensor]:
        twin.zero_grad(set_to_none=True)
        rule = next(layer.rule for layer in tt.layers(twin).values())
        options: Any = windows.get(rule, {})
        mine = dataclasses.replace(task, **options) if options or task.is_stream else task
        for outcome in mine.losses(twin, batch.like(twin)):
            if outcome.loss is not None:
                outcome.loss.backward()
        found = collected(twin)
        twin.zero_grad(set_to_none=True)
        return found

    def reference(twin: nn.Module) -> dict[str, Tensor]:
        tt.set_rule(twin, tt.rules.bptt())
        return run(twin)

    return Subject(net, batch.x, run, reference)
