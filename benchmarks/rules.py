"""Rules on tasks, with seeds and equal tuning effort: python -m benchmarks.rules digits clicks:hard --seeds 3

A task is its name, then a preset or options after colons: `digits:hidden_layers=4`. Rules are words as `tracetorch
train --rule` takes them; `frozen` and `sltt` always stand beside them: they say what learning in hidden layers, and
learning through time, adds. With `--tune 0.3,1,3` each rule first tries these factors on the task's learning rate, with
seeds that the table does not use, and the table takes the best; the held-out data are the same. Each run has a process
of its own. Rows are appended to a file as JSON lines; runs that are there are not run again. `--table` prints what is
there and says what is missing.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import lines
from tracetorch.train import compare, make
from tracetorch.train.tasks import Problem

RULES = "cascade,cascade:pairs=10,trace,eprop,drtrl,ottt,bptt"
BESIDE = ("frozen", "sltt")
TUNED_ON = 1000
"""The first seed of the search for a learning rate; those of the table count from 0."""
ROWS = Path(__file__).parents[1] / "docs" / "results" / "rules.jsonl"
KEY = ("kind", "task", "options", "rule", "factor", "seed")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is to be run of one task.

    Args:
        word: The task's word.
        task: The task.
        rules: The rules' words.
        seeds: The table's seeds.
        factors: Factors on the learning rate that are tried; one alone is taken as it is.
        tuning_seeds: The seeds that each is tried with.
    """

    word: str
    task: Problem
    rules: Sequence[str]
    seeds: Sequence[int]
    factors: Sequence[float] = (1.0,)
    tuning_seeds: Sequence[int] = (TUNED_ON, TUNED_ON + 1)

    def tuning(self) -> list[dict[str, Any]]:
        """Return the keys of the search's runs."""
        if len(self.factors) == 1:
            return []
        return [self.key("tune", r, f, s) for s in self.tuning_seeds for r in self.rules for f in self.factors]

    def table(self, rows: Iterable[Row]) -> list[dict[str, Any]]:
        """Return the keys of the table's runs, of rules whose search is done; seed by seed."""
        best = {rule: self.best(rows, rule) for rule in self.rules}
        return [self.key("table", r, f, s) for s in self.seeds for r, f in best.items() if f is not None]

    def best(self, rows: Iterable[Row], rule: str) -> float | None:
        """Return the factor with the best mean score in the search; None where the search is not done or all failed."""
        if len(self.factors) == 1:
            return self.factors[0]
        found = {_text(row): row for row in rows}
        means = {}
        for factor in self.factors:
            mine = [found.get(_text(self.key("tune", rule, factor, seed))) for seed in self.tuning_seeds]
            if any(row is None for row in mine):
                return None
            scores = [score_of(row) for row in mine if row is not None]
            if all(map(math.isfinite, scores)):
                means[factor] = statistics.fmean(scores)
        choose = max if self.task.higher_is_better else min
        return choose(means, key=lambda factor: means[factor]) if means else None

    def key(self, kind: str, rule: str, factor: float, seed: int) -> dict[str, Any]:
        """Return what names a run."""
        options = {k: v for k, v in self.task.options().items() if k not in ("seed", "data")}  # a path is no setting
        return {"kind": kind, "task": self.word, "options": options, "rule": rule, "factor": factor, "seed": seed}

    def run(self, key: Row) -> dict[str, Any]:
        """Do one run in its own process; return its row, with the error instead of scores if it failed."""
        options = {**self.task.options(), "lr": self.task.options()["lr"] * key["factor"]}
        task = type(self.task)(**options)
        with tempfile.TemporaryDirectory() as folder:
            try:
                (result,) = compare(task, [key["rule"]], folder=folder, seeds=[key["seed"]])
            except (ValueError, ChildProcessError) as error:
                return {**key, "metric": task.metric, "error": str(error).replace(folder, "…")}
        numbers = {"seconds": result.seconds, "peak_mb": result.peak_mb, "training_mb": result.training_mb}
        return {**key, "lr": options["lr"], "metric": task.metric, "scores": dict(result.scores), **numbers}


def missing(keys: Iterable[Row], rows: Iterable[Row]) -> list[Row]:
    """Return the keys that no row has."""
    done = {_text(row) for row in rows}
    return [key for key in keys if _text(key) not in done]


def work(plan: Plan, path: Path, processes: int) -> Iterator[dict[str, Any]]:
    """Do the runs of a task that are missing, the search first; append and yield each row as it comes."""
    for phase in ("tune", "table"):
        rows = lines.read(path)
        keys = missing(plan.tuning() if phase == "tune" else plan.table(rows), rows)
        with ThreadPoolExecutor(max_workers=processes) as pool:
            futures = [pool.submit(plan.run, key) for key in keys]
            try:
                for future in as_completed(futures):
                    row = future.result()
                    lines.append(path, [row])
                    yield row
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def markdown(plan: Plan, rows: Sequence[Row]) -> str:
    """Return a task's table: score by rule, its difference to bptt's, and what is missing."""
    found = {_text(row): row for row in rows}
    scores: dict[str, list[float]] = {}
    for rule in plan.rules:
        factor = plan.best(rows, rule)
        mine = [] if factor is None else [found.get(_text(plan.key("table", rule, factor, s))) for s in plan.seeds]
        scores[rule] = [score_of(row) for row in mine if row is not None and "scores" in row]
    reference = scores.get("bptt")
    text = [
        f"### {plan.word}",
        "",
        f"| rule | {plan.task.metric} | against bptt | seeds | factor on the learning rate |",
        "|---|---|---|---|---|",
    ]
    for rule, values in scores.items():
        if not values:
            why = next((r["error"] for r in rows if "error" in r and (r["task"], r["rule"]) == (plan.word, rule)), None)
            text.append(f"| {rule} | {'refused: ' + why if why else 'missing'} | | 0 | |")
            continue
        mean = statistics.fmean(values)
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        against = f"{mean - statistics.fmean(reference):+.4f}" if reference else "–"
        seeds = f"{len(values)} of {len(plan.seeds)}"
        text.append(f"| {rule} | {mean:.4f}{spread} | {against} | {seeds} | {plan.best(rows, rule):g} |")
    return "\n".join(text)


def score_of(row: Row) -> float:
    """Return a run's score by the task's metric; NaN where it failed."""
    value = row.get("scores", {}).get(row["metric"])
    return math.nan if value is None else float(value)


def read_task(word: str, data: str | None, steps: int | None) -> Problem:
    """Make a task of its word."""
    name, *settings = word.split(":")
    preset = next((s for s in settings if "=" not in s), None)
    options: dict[str, Any] = dict(s.split("=", 1) for s in settings if "=" in s)
    task = make(name, options, preset=preset)
    if data is not None and "data" in task.options():
        options["data"] = data
    if steps is not None:
        options["steps"] = steps
    return make(name, options, preset=preset)


def _text(row: Row) -> str:
    return lines.text_of(row, *KEY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", help="tasks by their words")
    parser.add_argument("--rules", default=RULES, help="rules with commas between them")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of the table, from 0")
    parser.add_argument("--tune", default="1", help="factors on the learning rate to try, with commas between them")
    parser.add_argument("--tuning-seeds", type=int, default=2, help=f"seeds that each is tried with, from {TUNED_ON}")
    parser.add_argument("--steps", type=int, help="training iterations; the tasks' own if not given")
    parser.add_argument("--data", help="the folder of the tasks' data")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time")
    parser.add_argument("--rows", type=Path, default=ROWS, help="the file of rows")
    parser.add_argument("--table", action="store_true", help="print the tables, run nothing")
    arguments = parser.parse_args()
    words = [word.strip() for word in arguments.rules.split(",") if word.strip()]
    plans = [
        Plan(
            word,
            read_task(word, arguments.data, arguments.steps),
            tuple(dict.fromkeys((*words, *BESIDE))),
            range(arguments.seeds),
            tuple(float(factor) for factor in arguments.tune.split(",")),
            range(TUNED_ON, TUNED_ON + arguments.tuning_seeds),
        )
        for word in arguments.tasks
    ]
    if not arguments.table:
        for plan in plans:
            for row in work(plan, arguments.rows, arguments.processes):
                said = row.get("error") or f"{row['metric']} {score_of(row):.4f}"
                print(row["kind"], row["task"], row["rule"], row["factor"], row["seed"], said, flush=True)
    rows = lines.read(arguments.rows)
    for plan in plans:
        print("\n" + markdown(plan, rows))
        left = missing([*plan.tuning(), *plan.table(rows)], rows)
        if left:
            print(f"\nmissing: {len(left)} runs")


if __name__ == "__main__":
    main()
