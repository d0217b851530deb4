"""Make the run that a task is: supervised or from reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tracetorch as tt
from tracetorch.train.choice import Choice
from tracetorch.train.reward.base import RewardTask
from tracetorch.train.reward.runner import RewardRunner
from tracetorch.train.runner import Runner
from tracetorch.train.tasks.base import Problem, Task
from tracetorch.train.trainer import Trainer

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_runner(
    task: Problem,
    *,
    rule: str | tt.Rule | Choice | None = None,
    log_every: int = 10,
    fabric: Fabric | None = None,
) -> Runner[Any]:
    """Make the run of a task: a `Trainer` for one with losses, a `RewardRunner` for one with rewards.

    A rule may be a word as on the command line; None is the task's own. `fabric` is None for one process on the CPU.
    """
    if isinstance(task, RewardTask):
        return RewardRunner(task, rule=rule, log_every=log_every, fabric=fabric)
    if isinstance(task, Task):
        return Trainer(task, rule=rule, log_every=log_every, fabric=fabric)
    raise TypeError(f"a task is a Task or a RewardTask, got {type(task).__name__}")
