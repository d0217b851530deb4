"""Recurrent units on a chain that must be remembered, from reward, step by step: python -m benchmarks.memory_units

The task `memorychain`: a cue, 32 steps with two distractors, then the cue is to be named. Eight units in each layer,
a linear policy and value above them, Adam along the trace; the task's own leaky averages, one layer of LRU, two layers
under `cascade` with a filter for each pole and under `drtrl`, LIF, and GRU with truncated BPTT at equal memory. Each
step is learned from once. 1 is perfect, 0 is chance.

Rows are appended to a file as JSON lines; runs that are there are not run again. `--table` prints the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import tracetorch as tt
from benchmarks import lines
from benchmarks.lines import Row
from tracetorch.train import fit
from tracetorch.train.reward.remember import Chain

SEEDS, STEPS, UNITS = (0, 1, 2), 20_000, 8
ROWS = Path(__file__).parents[1] / "docs" / "results" / "memory_units.jsonl"
JOB = ("net", "seed", "steps")


def lru(inputs: int) -> tt.Layer:
    """Return a layer of units that turn slowly and remember the chain's length."""
    return tt.Layer(nn.Linear(inputs, 2 * UNITS), tt.LRU(UNITS, r_min=0.9, r_max=0.999, max_phase=math.pi / 10))


def lif(inputs: int) -> tt.Layer:
    """Return a layer of spiking units."""
    return tt.Layer(nn.Linear(inputs, UNITS), tt.LIF(half_life=16.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Units(Chain):
    """The chain, with other hidden layers."""

    layers: tuple[Callable[[int], tt.Layer], ...] = ()

    def network(self) -> nn.Module:
        """Build the hidden layers under the task's own readout."""
        net = super().network()
        if not self.layers or not isinstance(net, nn.Sequential):
            return net
        hidden = [layer(UNITS if i else self.size) for i, layer in enumerate(self.layers)]
        return nn.Sequential(*hidden, net[-1])


NETS: dict[str, tuple[tuple[Callable[[int], tt.Layer], ...], tt.Rule]] = {
    "LI, drtrl": ((), tt.rules.drtrl()),
    "LIF, cascade": ((lif,), tt.rules.cascade()),
    "LRU, cascade": ((lru,), tt.rules.cascade()),
    "2 LRU, cascade": ((lru, lru), tt.rules.cascade(buckets=UNITS)),
    "2 LRU, drtrl": ((lru, lru), tt.rules.drtrl()),
    "GRU, BPTT": ((), tt.rules.drtrl()),
}


def run(net: str, seed: int, steps: int) -> dict[str, Any]:
    """Train one agent."""
    layers, rule = NETS[net]
    task = Units(seed=seed, steps=steps, layers=layers)
    if net.startswith("GRU"):
        task = replace(task, control="gru")
    scores = fit(task, rule=rule).scores
    return {"net": net, "seed": seed, "steps": steps, **{k: scores[k] for k in ("return", "best", "steps_to_goal")}}


def _shown(value: float | None, form: str) -> str:
    return "never" if value is None or math.isnan(value) else format(value, form)


def table(rows: Sequence[Row]) -> str:
    """Return the returns at the end, seed by seed, and the steps to a mean of 0.9."""
    found = []
    for net in NETS:
        own = sorted((row for row in rows if row["net"] == net), key=lambda row: row["seed"])
        if own:
            cells = [", ".join(_shown(row[key], ".2f") for row in own) for key in ("return", "best")]
            found.append([net, *cells, ", ".join(_shown(row["steps_to_goal"], ",.0f") for row in own)])
    return lines.markdown(["units, rule", "return", "best mean of 100 episodes", "steps to a mean of 0.9"], found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not in the file yet."""
    parser = lines.parser(__doc__, ROWS)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the environment")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    jobs = [(net, seed, options.steps) for seed in options.seeds for net in options.nets]
    lines.complete(options.rows, JOB, () if options.table else jobs, run)
    print(table(lines.read(options.rows)))


if __name__ == "__main__":
    main()
