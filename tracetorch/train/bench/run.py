"""Run workloads on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

import torch

from tracetorch.train.bench import machine
from tracetorch.train.bench.measure import Effort, Place, Say, measure, own_place
from tracetorch.train.bench.results import Report, Table
from tracetorch.train.bench.settings import Group, Workload

QUICK_EFFORT = Effort(rounds=2, lead=0.0, seconds=0.02, limit=600.0)
"""For a look at whether everything runs."""


def run(
    workloads: Sequence[Workload],
    *,
    rivals: Sequence[Place] = (),
    threads: int | None = None,
    effort: Effort | None = None,
    say: Say | None = None,
) -> Report:
    """Measure workloads, this library's rows and those of rivals in turn.

    Args:
        workloads: What to measure; see `tracetorch.train.bench.settings.chosen`.
        rivals: Where other libraries run; none for this library alone.
        threads: Threads of each process; as many as there are cores by default.
        effort: How often is measured.
        say: Called with a line on what goes on.

    Returns:
        The run.

    Raises:
        ValueError: There are fewer cores than threads, or no thread.
    """
    cores = os.cpu_count() or 1
    threads = cores if threads is None else threads
    if not 1 <= threads <= cores:
        raise ValueError(f"threads must be 1 to {cores}, the number of cores, got {threads}")
    effort = effort or Effort()
    say = say or _silent
    report = Report(machine.describe(threads), {"effort": asdict(effort)})
    places = [own_place(sys.executable), *rivals]
    for workload in workloads:
        for group in workload.groups():
            skipped = missing(workload)
            if skipped:
                say(f"{group.name}: skipped, {skipped}")
                report.tables.append(_empty(group, skipped))
            else:
                report.tables.append(measure(group, places, threads=threads, effort=effort, say=say))
    report.machine["load_after"] = machine.load()
    return report


def missing(workload: Workload) -> str:
    """Return what this machine lacks for a workload; empty where nothing."""
    if workload.device == "cuda" and not torch.cuda.is_available():
        return "it needs a GPU that torch can use, and there is none"
    return ""


def _empty(group: Group, skipped: str) -> Table:
    workload = group.workload
    return Table(
        workload=workload.name,
        name=group.name,
        title=workload.title,
        kind=workload.kind,
        steps=group.steps,
        loss=group.loss,
        update=group.update,
        dtype=group.dtype,
        settings=asdict(workload),
        skipped=skipped,
    )


def _silent(line: str) -> None:
    """Say nothing."""
