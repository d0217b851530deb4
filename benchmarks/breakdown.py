"""Show where an iteration of W1 goes: ``python -m benchmarks.breakdown trace last``.

Milliseconds of an iteration in the functions that take most, under Python's profiler: what is small and called often
looks larger than it is. Windows before the last only carry the traces on.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import tracetorch as tt
from benchmarks import own, settings
from benchmarks.problem import write_arrays


def main() -> None:
    """Print the mean over the turns, function by function."""
    parser = argparse.ArgumentParser("python -m benchmarks.breakdown", description=__doc__)
    parser.add_argument("rule", choices=sorted(tt.rules.PRESETS))
    parser.add_argument("loss", choices=("last", "every"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--window", type=int, help="steps of a window; all of them if not given")
    parser.add_argument("--decays", choices=("shared", "neuron"), default="shared")
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--functions", type=int, default=25, help="how many functions are printed")
    words = parser.parse_args()
    workload = replace(
        settings.WORKLOADS["W1"], steps=(words.steps,), losses=(words.loss,), window=words.window or words.steps
    )
    with TemporaryDirectory() as folder:
        job = {
            "data": str(write_arrays(workload.groups()[0], folder)),
            "row": {"method": words.rule, "options": {"rule": words.rule, "window": True}, "decays": words.decays},
            "group": {"steps": words.steps, "loss": words.loss, "update": "end", "dtype": "float32"},
            "workload": asdict(workload),
            "threads": words.threads,
        }
        case = own.Case(job)
    for _ in range(5):
        case.iterate()
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(words.turns):
        case.iterate()
    profiler.disable()
    rows = [
        (total, calls, f"{'/'.join(Path(path).parts[-3:])}:{name}")
        for (path, _, name), (_, calls, _, total, _) in pstats.Stats(profiler).stats.items()  # type: ignore[attr-defined]
    ]
    for total, calls, name in sorted(rows, reverse=True)[: words.functions]:
        print(f"{name:70} {1e3 * total / words.turns:8.2f} ms in {calls / words.turns:.0f} calls")


if __name__ == "__main__":
    main()
