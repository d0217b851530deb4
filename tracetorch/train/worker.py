"""One run in its own process: `main` does what job.json says in the folder that the command line names.

Its own process gives a run its own peak memory, and no warm caches from the run before.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from tracetorch.data.files import write_file
from tracetorch.train.choice import read_choice
from tracetorch.train.events import Evaluated, Evaluating
from tracetorch.train.folder import RunFolder, describe
from tracetorch.train.formats import THREADS
from tracetorch.train.memory import PeakMemory
from tracetorch.train.recording import make_runner, recorded, scores_of
from tracetorch.train.schema import Range, check, read_json
from tracetorch.train.tasks import Problem, find


@dataclass(frozen=True)
class Job:
    """One run of a comparison, and what ``job.json`` holds; a task of a script is ``/path/script.py:Name``."""

    task: str
    rule: str
    seed: int
    options: dict[str, Any]
    threads: Annotated[int, Range(1, THREADS)] = 1

    def make_task(self) -> Problem:
        """Make the task of this run, with the run's seed."""
        return find(self.task)(**{**self.options, "seed": self.seed})


def work(job: Job, folder: Path) -> dict[str, Any]:
    """Train one run to its end; write log, configuration, weights and ``result.json`` into the folder, which exists.

    The result has rule, seed, scores, seconds in iterations, peak memory in MB over the iterations (evaluation left
    out) and what of it was added since before the first.
    """
    torch.set_num_threads(job.threads)
    task = job.make_task()
    trainer = make_runner(task, rule=read_choice(job.rule))
    run = RunFolder(folder)
    run.lock()
    run.configure(describe(trainer))
    run.log.unlink(missing_ok=True)
    meter = PeakMemory()
    meter.resume()
    for event in recorded(trainer, run, save_seconds=math.inf):
        if isinstance(event, Evaluating):
            meter.pause()
        elif isinstance(event, Evaluated) and event.record["kind"] == "eval":
            meter.resume()
    result = {
        "rule": job.rule,
        "seed": job.seed,
        "metric": task.metric,
        "scores": scores_of(run.records()),
        "iterations": trainer.iteration,
        "time_steps": trainer.time_steps,
        "seconds": trainer.seconds,
        "peak_mb": meter.peak_mb,
        "training_mb": meter.peak_mb - meter.start_mb,
    }
    write_file(folder / "result.json", (json.dumps(result, indent=2) + "\n").encode())
    return result


def read_job(folder: Path) -> Job:
    """Read the job that a folder holds."""
    file = folder / "job.json"
    job = read_json(file, file.read_bytes())
    check(Job, job, file)
    return Job(**job)


def write_job(job: Job, folder: Path) -> None:
    """Make the folder and write its job."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "job.json", (json.dumps(asdict(job), indent=2) + "\n").encode())


def main() -> None:
    """Do the job of the folder that the command line names."""
    place = Path(sys.argv[1])
    work(read_job(place), place)
