"""The tasks that ``tracetorch train`` knows, one file each, and how to make one from words."""

from tracetorch.train.tasks.base import Batch, Outcome, Problem, StreamTask, Task, option
from tracetorch.train.tasks.classification import ClassificationTask
from tracetorch.train.tasks.registry import TASKS, find, make

__all__ = ["TASKS", "Batch", "ClassificationTask", "Outcome", "Problem", "StreamTask", "Task", "find", "make", "option"]
