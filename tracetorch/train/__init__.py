"""Train networks on tasks: a loop that reports what it does, runs that resume bit for bit, rules compared.

`fit` is the short way; `Trainer` with its events the long one. Nothing here prints; the command line draws.
Training needs Lightning Fabric, checkpoints safetensors, figures matplotlib: the extra ``train``.
"""

from tracetorch.train.choice import Choice, read_choice
from tracetorch.train.compare import Compared, compare, summarise
from tracetorch.train.drawing import comparison_figure, run_figures, save_figures
from tracetorch.train.events import Evaluated, Evaluating, Event, Finished, Logged, Progressed, Saved
from tracetorch.train.fabric import make_fabric
from tracetorch.train.folder import RunFolder
from tracetorch.train.memory import PeakMemory, peak_mb, resident_mb
from tracetorch.train.recording import Result, begin, fit, recorded, reopen
from tracetorch.train.schema import RunFileError
from tracetorch.train.task_audit import audit_task
from tracetorch.train.tasks import TASKS, Batch, ClassificationTask, Outcome, StreamTask, Task, make, option
from tracetorch.train.trainer import Trainer

__all__ = [
    "TASKS",
    "Batch",
    "Choice",
    "ClassificationTask",
    "Compared",
    "Evaluated",
    "Evaluating",
    "Event",
    "Finished",
    "Logged",
    "Outcome",
    "PeakMemory",
    "Progressed",
    "Result",
    "RunFileError",
    "RunFolder",
    "Saved",
    "StreamTask",
    "Task",
    "Trainer",
    "audit_task",
    "begin",
    "compare",
    "comparison_figure",
    "fit",
    "make",
    "make_fabric",
    "option",
    "peak_mb",
    "read_choice",
    "recorded",
    "reopen",
    "resident_mb",
    "run_figures",
    "save_figures",
    "summarise",
]
