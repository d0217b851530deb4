"""Does memory stay flat while an agent lives? python -m benchmarks.rl_memory --steps 1000000

Runs a task with rewards and prints the resident set of the process after each tenth, and the growth since the first.
"""

from __future__ import annotations

import argparse
import time

import torch

from tracetorch.train.memory import resident_mb
from tracetorch.train.recording import make_runner
from tracetorch.train.tasks import make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="cartpole")
    parser.add_argument("--rule", default=None)
    parser.add_argument("--steps", type=int, default=1_000_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = make(arguments.task, {"steps": arguments.steps})
    run, began, first, tenths = make_runner(task, rule=arguments.rule), time.perf_counter(), 0.0, 0
    for _ in run.events():
        if run.time_steps * 10 // arguments.steps > tenths:
            tenths = run.time_steps * 10 // arguments.steps
            now = resident_mb()
            first = first or now
            seconds = time.perf_counter() - began
            print(f"{run.time_steps:9} steps  {now:7.1f} MB  {now - first:+6.2f} MB  {seconds:5.0f} s", flush=True)


if __name__ == "__main__":
    main()
