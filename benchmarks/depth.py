"""How near each rule's gradient is to BPTT's in deep networks while they train: python -m benchmarks.depth

The task `digits`, row by row: 2, 4 and 6 hidden layers of 128 LIF neurons with a half-life of 8 steps, a readout of 16,
16 steps, one loss at the last. Each unit starts at a firing rate of 20 % (`tt.init_firing`): with torch's own weights
the upper layers of six are silent. At some iterations of the training the gradient of every rule is compared with that
of BPTT on the batch in hand, in float64, one window for each step, so that what a window inherits goes through the
rule's storage. Every rule is audited on a network that BPTT trains, and each on one that it trains itself; the pairs of
`cascade` on that of `cascade`, which differs from them only in what windows inherit.

Rows are appended to a file as JSON lines; runs that are there are not run again. `--table` prints the tables, `--figure
FILE` draws the lowest layer's cosine.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import tracetorch as tt
from benchmarks import lines
from benchmarks.lines import Row
from tracetorch import plot
from tracetorch.testing.rules_audit import audit_subjects
from tracetorch.train import Progressed, Task, Trainer, make, read_choice
from tracetorch.train.task_audit import of_task

DEPTHS, SEEDS, CHECKS, RATE = (2, 4, 6), (0, 1, 2), (0, 100, 250, 500, 750, 999), 0.2
PAIRS = ("cascade:pairs=10", "cascade:pairs=1")
RULES = ("bptt", "cascade", *PAIRS, "trace", "eprop", "drtrl", "ottt", "sltt")
TRAINED = ("bptt", "cascade", "trace", "drtrl", "eprop", "ottt", "sltt")
ROWS = Path(__file__).parents[1] / "docs" / "results" / "depth.jsonl"
JOB = ("trained_by", "hidden_layers", "seed")


def audited(trained_by: str) -> tuple[str, ...]:
    """Return the rules that are audited on a network that one rule trains."""
    return {"bptt": RULES, "cascade": ("cascade", *PAIRS)}.get(trained_by, (trained_by,))


def run(trained_by: str, hidden_layers: int, seed: int, steps: int) -> Iterator[dict[str, Any]]:
    """Train one network; yield a row for each check and rule, and the score last."""
    settings = {"hidden_layers": hidden_layers, "seed": seed, "steps": steps, "eval_every": steps}
    trainer = Trainer(make("digits", settings), rule=trained_by)
    tt.init_firing(trainer.net, trainer.task.batch(0).x, RATE)
    job = {"trained_by": trained_by, "hidden_layers": hidden_layers, "seed": seed, "iterations": steps}
    checks = sorted({round(check * steps / 1000) for check in CHECKS})
    if checks[0] == 0:
        yield from check_rules(trainer, job)
    for event in trainer.events():
        if isinstance(event, Progressed) and event.iteration in checks:
            yield from check_rules(trainer, job)
    yield {**job, "kind": "score", **trainer.evaluate()}


def check_rules(trainer: Trainer, job: Row) -> Iterator[dict[str, Any]]:
    """Yield a row for each rule: cosines and norm ratios from the lowest layer to the readout."""
    task: Task = dataclasses.replace(trainer.task, window=1)
    subject = of_task(task, trainer.net, task.batch(trainer.iteration), {})
    rules = {word: read_choice(word).rule for word in audited(str(job["trained_by"]))}
    audit = audit_subjects(lambda _: subject, rules, (int(job["seed"]),), repeats=0)
    dead = {
        "firing": [round(f[0].mean, 4) for f in audit.firing.values()],
        "silent": [len(f[0].silent) for f in audit.firing.values()],
        "saturated": [len(f[0].saturated) for f in audit.firing.values()],
    }
    for rule, layers in audit.agreements.items():
        cosines = [round(found[0].cosine, 5) for found in layers.values()]
        ratios = [float(f"{found[0].norm_ratio:.4g}") for found in layers.values()]
        measured = {"rule": rule, "iteration": trainer.iteration, "cosine": cosines, "norm_ratio": ratios}
        yield {**job, "kind": "audit", **measured, **dead}


def lowest(rows: Sequence[Row], rule: str, *, own: bool) -> dict[int, dict[int, list[float]]]:
    """Return the lowest layer's cosines over the checks, by depth and seed, on its own networks or on BPTT's."""
    trained_by = (rule if rule not in PAIRS else "cascade") if own else "bptt"
    found: dict[int, dict[int, list[float]]] = {}
    for row in lines.latest(rows, *JOB, "rule", "iteration"):
        if row["rule"] == rule and row["trained_by"] == trained_by and row["cosine"][0] is not None:
            found.setdefault(row["hidden_layers"], {}).setdefault(row["seed"], []).append(row["cosine"][0])
    return found


def mean(values: Sequence[float], digits: int) -> str:
    """Return the mean of values with the least in brackets."""
    return f"{statistics.fmean(values):.{digits}f} ({min(values):.{digits}f})"


def table(rows: Sequence[Row], *, own: bool) -> str:
    """Return the lowest layer's cosine by rule and depth as Markdown: the mean over seeds and checks, and the worst."""
    text = []
    for rule in RULES:
        found = lowest(rows, rule, own=own)
        cells = []
        for depth in DEPTHS:
            values = [value for seed in found.get(depth, {}).values() for value in seed]
            cells.append(mean(values, 3) if values else "–")
        text.append([rule, *cells])
    return lines.markdown(["rule", *(f"{d} hidden layers" for d in DEPTHS)], text)


def by_layer(rows: Sequence[Row], depth: int) -> str:
    """Return cosine and norm ratio of each layer of BPTT's networks of one depth as Markdown: mean, worst, ratio."""
    names, text = [*(f"layer {i}" for i in range(1, depth + 1)), "readout"], []
    for rule in RULES:
        mine = [
            row
            for row in lines.latest(rows, *JOB, "rule", "iteration")
            if (row["trained_by"], row["hidden_layers"], row["rule"]) == ("bptt", depth, rule)
        ]
        cells = []
        for layer in range(len(names)):
            cosines = [row["cosine"][layer] for row in mine if row["cosine"][layer] is not None]
            ratios = [row["norm_ratio"][layer] for row in mine if row["norm_ratio"][layer] is not None]
            cells.append(f"{mean(cosines, 3)} ×{statistics.median(ratios):.2g}" if cosines else "–")
        text.append([rule, *cells])
    return lines.markdown(["rule", *names], text)


def scores(rows: Sequence[Row]) -> str:
    """Return held-out accuracy by the rule that trained and depth as Markdown: mean, lowest seed, number of seeds."""
    text = []
    ended = lines.latest([row for row in rows if row["kind"] == "score"], *JOB)
    for rule in TRAINED:
        cells = []
        for depth in DEPTHS:
            mine = [100 * r["accuracy"] for r in ended if (r["trained_by"], r["hidden_layers"]) == (rule, depth)]
            cells.append(f"{mean(mine, 1)}, {len(mine)} seeds" if mine else "–")
        text.append([rule, *cells])
    return lines.markdown(["rule", *(f"{d} hidden layers" for d in DEPTHS)], text)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the lowest layer's cosine against depth on BPTT's networks."""
    series = {}
    for rule in RULES[1:]:
        found = lowest(rows, rule, own=False)
        depths = [d for d in DEPTHS if d in found]
        seeds = sorted(set.intersection(*(set(found[d]) for d in depths))) if depths else []
        if seeds:
            means = [[statistics.fmean(found[d][seed]) for d in depths] for seed in seeds]
            series[rule] = (depths, means)
    title = "Digits row by row, in training: the lowest layer's gradient"
    plot.save(plot.cosines(series, x_label="hidden layers", title=title), path)


def main() -> None:
    parser = lines.parser(__doc__, ROWS)
    parser.add_argument("--steps", type=int, default=1000, help="training iterations of each network")
    parser.add_argument("--figure", type=Path, help="draw the figure, run nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.table and arguments.figure is None:
        jobs = [(t, d, s) for t in TRAINED for d in DEPTHS for s in SEEDS]
        lines.complete(arguments.rows, JOB, jobs, lambda *job: run(*job, arguments.steps))
    rows = lines.read(arguments.rows)
    if arguments.figure is not None:
        draw(rows, arguments.figure)
        return
    print("Lowest layer's cosine, networks trained by BPTT\n\n" + table(rows, own=False))
    print("\nLowest layer's cosine, networks trained by the rule itself\n\n" + table(rows, own=True))
    for depth in DEPTHS:
        print(f"\n{depth} hidden layers, networks trained by BPTT\n\n" + by_layer(rows, depth))
    print("\nHeld-out accuracy, %\n\n" + scores(rows))


if __name__ == "__main__":
    main()
