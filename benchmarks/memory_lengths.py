"""How far back a cue is found: python -m benchmarks.memory_lengths --run FOLDER

MemoryChain at several lengths, 8 hidden units whose time constants start at a quarter of the length, with exact traces
(drtrl) and with one-step truncation (sltt); beside them a wide layer whose time constants start at four times the
length. Writes results.json and lengths.png.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from tracetorch import plot
from tracetorch.train import fit
from tracetorch.train.tasks import make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--lengths", default="2,8,32,128")
    parser.add_argument("--episodes", type=int, default=2500)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.run.mkdir(parents=True, exist_ok=True)
    lengths = [int(length) for length in arguments.lengths.split(",")]
    results: dict[str, list[list[float]]] = {}
    for preset in (None, "wide"):
        for rule in ("drtrl", "sltt"):
            rows = results.setdefault(f"{preset or 'narrow'}, {rule}", [[] for _ in range(arguments.seeds)])
            for length in lengths:
                for seed in range(arguments.seeds):
                    steps = arguments.episodes * (length + 1)
                    task = make("memorychain", {"length": length, "steps": steps, "seed": seed}, preset=preset)
                    rows[seed].append(fit(task, rule=rule).scores["return"])
                print(f"{preset or 'narrow':7} {rule:6} length {length:4}", [round(row[-1], 2) for row in rows])
                (arguments.run / "results.json").write_text(json.dumps({"lengths": lengths, "returns": results}))
    panels = {
        f"return, {kind}": {rule: (lengths, results[f"{kind}, {rule}"]) for rule in ("drtrl", "sltt")}
        for kind in ("narrow", "wide")
    }
    plot.save(plot.curves(panels, x_label="steps between cue and question"), arguments.run / "lengths.png")


if __name__ == "__main__":
    main()
