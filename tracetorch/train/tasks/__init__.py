"""The tasks that ``tracetorch train`` knows, one file each, and how to make one from words."""

from tracetorch.train.tasks.base import Batch, Outcome, Problem, StreamTask, Task
from tracetorch.train.tasks.registry import TASKS, make

__all__ = ["TASKS", "Batch", "Outcome", "Problem", "StreamTask", "Task", "make"]
