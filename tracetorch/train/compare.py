"""Compare learning rules on one task: each run in its own process, results kept as they come."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracetorch.data.files import write_file
from tracetorch.train.choice import read_choice
from tracetorch.train.folder import RunFolder, slug, versions
from tracetorch.train.schema import plain
from tracetorch.train.tasks import TASKS, Problem
from tracetorch.train.worker import Job, read_job, write_job


@dataclass(frozen=True)
class Compared:
    """What one run of a comparison gave.

    Attributes:
        rule: The rule's word.
        seed: The seed.
        scores: Scores by name, the task's metric first.
        seconds: Seconds spent in iterations.
        peak_mb: Peak resident memory over the iterations, in MB.
        training_mb: What of it was added since before the first iteration.
        curve: Iterations and held-out scores of the learning curve.

    Example:
        >>> from tracetorch.train import Compared
        >>> run = Compared("sltt", 0, {"accuracy": 0.8}, seconds=1.0, peak_mb=300, training_mb=2, curve=([9], [0.8]))
        >>> run.scores["accuracy"]
        0.8
    """

    rule: str
    seed: int
    scores: Mapping[str, float]
    seconds: float
    peak_mb: float
    training_mb: float
    curve: tuple[list[int], list[float]]


def compare(
    task: Problem,
    rules: Sequence[str],
    *,
    folder: str | os.PathLike[str],
    seeds: Sequence[int] = (0,),
    processes: int = 1,
    threads: int = 1,
) -> Generator[Compared, None, None]:
    """Train a task with each rule and seed; runs that the folder holds already are read, not run again.

    Args:
        task: One of the tasks that come with the library, or that `make` read from a script; its seed is replaced.
        rules: The rules' words, as `read_choice` takes them.
        folder: Where the runs go, one folder each, and ``results.json``, renewed after every run.
        seeds: The seeds.
        processes: Runs at a time; times are comparable only where each has its own cores.
        threads: Threads of each run.

    Yields:
        Each run's result, as it comes.

    Raises:
        ValueError: The task or a rule is unknown, a rule does not fit the task, or there is no rule or no seed.
        FileExistsError: The folder holds a run of the same rule and seed that was set otherwise.
        ChildProcessError: A run failed; the message holds the end of what it said.

    Example:
        >>> import tempfile, tracetorch as tt
        >>> task = tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8})
        >>> results = tt.train.compare(task, ["sltt"], folder=tempfile.mkdtemp())
        >>> [(found.rule, found.seed, list(found.scores)) for found in results]
        [('sltt', 0, ['accuracy'])]
    """
    if not rules or not seeds:
        raise ValueError(f"compare needs at least one rule and one seed, got rules {list(rules)}, seeds {list(seeds)}")
    if min(processes, threads) < 1:
        raise ValueError(f"processes and threads must be at least 1, got {processes} and {threads}")
    word = task.name if TASKS.get(task.name) is type(task) else task.script
    if word is None:
        raise ValueError(
            f"task {task.name!r} does not come with the library, so no other process can make it; make it with "
            f"make('my_task.py:Task'), from a script that they can read"
        )
    for rule in rules:
        read_choice(rule).apply(task)
    task.prepare()
    root = Path(folder)
    places: list[Path] = []
    for seed in dict.fromkeys(seeds):  # seed by seed, so that a comparison cut short has every rule
        for rule in dict.fromkeys(rules):
            places.append(root / slug(rule, str(seed)))
            _claim(places[-1], Job(word, rule, seed, task.options(), threads))
    done: list[Compared] = []
    living: set[subprocess.Popen[str]] = set()
    with ThreadPoolExecutor(max_workers=processes) as pool:
        futures = [pool.submit(_run, place, living) for place in places]
        try:
            for future in as_completed(futures):
                done.append(future.result())
                write_results(root / "results.json", task.metric, done)
                yield done[-1]
        finally:
            for process in list(living):  # some are left only where the caller, or the user, gave up
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


def _claim(place: Path, job: Job) -> None:
    """Write the job into its folder, or check that the folder is this very job's."""
    if not (place / "job.json").is_file():
        write_job(job, place)
    elif read_job(place) != job:
        raise FileExistsError(
            f"{str(place)!r} holds a run that was set otherwise: a comparison overwrites nothing; give another folder"
        )


def _run(place: Path, living: set[subprocess.Popen[str]]) -> Compared:
    """Run the job in its own process, which is in `living` meanwhile, unless its result is there; read the result."""
    if not (place / "result.json").is_file():
        program = "from tracetorch.train.worker import main; main()"
        command = [sys.executable, "-c", program, str(place)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            living.add(process)
            said = (process.communicate()[1] or "").strip().splitlines()
            living.discard(process)
        if process.returncode != 0:
            raise ChildProcessError(f"the run in {str(place)!r} failed: {said[-1] if said else process.returncode}")
    result = json.loads((place / "result.json").read_text())
    points = [r for r in RunFolder(place).records() if r["kind"] == "eval" and result["metric"] in r]
    curve = ([r["iteration"] for r in points], [r[result["metric"]] for r in points])
    columns = ("rule", "seed", "scores", "seconds", "peak_mb", "training_mb")
    return Compared(**{name: result[name] for name in columns}, curve=curve)


def summarise(results: Sequence[Compared]) -> list[dict[str, Any]]:
    """Return one row per rule: mean and standard deviation over the seeds.

    Args:
        results: What `compare` gave.

    Returns:
        For each rule, in the order of its first result: ``rule``, ``seeds``, ``scores`` (``{name: {"mean", "sd"}}``;
        the sd of one seed is NaN), ``seconds`` and ``peak_mb`` and ``training_mb`` (means).

    Example:
        >>> runs = [Compared("trace", s, {"accuracy": 0.8 + s / 10}, 1.0, 300.0, 2.0, ([], [])) for s in (0, 1)]
        >>> round(summarise(runs)[0]["scores"]["accuracy"]["mean"], 3)
        0.85
    """
    rows = []
    for rule in dict.fromkeys(result.rule for result in results):
        runs = [result for result in results if result.rule == rule]
        names = [name for name in runs[0].scores if all(name in run.scores for run in runs)]
        row: dict[str, Any] = {"rule": rule, "seeds": len(runs), "scores": {}}
        for name in names:
            values = [run.scores[name] for run in runs]
            # statistics.stdev raises on NaN, which a score is that a seed does not have: a goal that it never reached.
            spread = statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan
            row["scores"][name] = {"mean": statistics.fmean(values), "sd": spread}
        for name in ("seconds", "peak_mb", "training_mb"):
            row[name] = statistics.fmean(getattr(run, name) for run in runs)
        rows.append(row)
    return rows


def write_results(path: Path, metric: str, results: Sequence[Compared]) -> None:
    """Write all results and their summary as JSON, whole or not at all."""
    content = {
        "metric": metric,
        "versions": versions(),
        "summary": summarise(results),
        "runs": [{**vars(result)} for result in results],
    }
    write_file(path, (json.dumps(plain(content), indent=2) + "\n").encode())
