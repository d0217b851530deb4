"""Measure the first use with an empty kernel cache: ``python -m benchmarks.cold_start [PYTHON ...]``.

The README's second example on 700-256-256-20, batch 32, T = 100: `tt.scan` with its backward pass, then a call per step
with one. Each interpreter, this one if none is named, runs it in a process of its own with an empty cache, then again
with the cache that the first run left. Printed are seconds of CPU (of all threads) and of wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import json, time
began = time.perf_counter(), time.process_time()
import torch, tracetorch as tt
from torch import nn
torch.set_num_threads({threads})
net = nn.Sequential(
    tt.Layer(nn.Linear(700, 256), tt.LIF(half_life=20)),
    tt.Layer(nn.Linear(256, 256), tt.LIF(half_life=20)),
    tt.Layer(nn.Linear(256, 20), tt.LI(half_life=20)),
)
tt.set_rule(net, tt.rules.trace())
xs, y = (torch.rand(100, 32, 700) < 0.05).float(), torch.randint(20, (32,))
marks = [("import", began)]
def mark(name):
    marks.append((name, (time.perf_counter(), time.process_time())))
mark("scan")
nn.functional.cross_entropy(tt.scan(net, xs).mean(0), y).backward()
mark("step")
tt.reset(net)
nn.functional.cross_entropy(net(xs[0]), y).backward()
mark("end")
pairs = zip(marks, marks[1:])
print(json.dumps({{name: [b - a for a, b in zip(start, after)] for (name, start), (_, after) in pairs}}))
"""


def run(python: str, cache: str, threads: int) -> dict[str, list[float]]:
    """Return wall and CPU seconds of each part in a fresh process."""
    # A process of another environment must not import this clone.
    path = str(Path(__file__).resolve().parents[1]) if python == sys.executable else ""
    variables = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": path}
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        variables[name] = str(threads)
    command = [python, "-c", PROGRAM.format(threads=threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=cache, check=False)
    if done.returncode:
        raise RuntimeError(f"{python} ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
    parts: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return parts


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser("python -m benchmarks.cold_start", description=__doc__)
    parser.add_argument("pythons", nargs="*", default=[sys.executable], metavar="PYTHON")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    words = parser.parse_args()
    print("| interpreter | cache | import: CPU s (wall s) | tt.scan | net(x) |\n| --- | --- | ---: | ---: | ---: |")
    for python in words.pythons:
        with tempfile.TemporaryDirectory(prefix="tracetorch-cold-") as cache:
            for state in ("empty", "filled"):
                parts = run(python, cache, words.threads)
                cells = [f"{cpu:.1f} ({wall:.1f})" for wall, cpu in parts.values()]
                print(f"| {python} | {state} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
