"""What hops through dense recurrence give, beside BPTT: python -m benchmarks.hops

Two kinds of rows. `gradient`: one recurrent layer of 64 LIF neurons with a half-life of 5 steps under a leaky readout
of 10, 50 steps of random inputs, a loss at each step; cosine to BPTT's gradient of input and recurrent weights,
and the norm over that of BPTT's. `score`: such a layer trained on the task `randman`, whose label is in the
timing of spikes. Both for recurrent weights drawn with standard deviations of 0.02, 0.05 and 0.1; at the last, BPTT's
gradient grows with the sequence beyond any use.

Rows are appended to a file as JSON lines; runs that are there are not run again. `--table` prints the tables.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import tracetorch as tt
from benchmarks import lines
from benchmarks.lines import Row
from tracetorch.testing import agreement, rule_gradients
from tracetorch.train import Trainer, make

SIZES, SEEDS, HOPS = (0.02, 0.05, 0.1), (0, 1, 2), (0, 1, 2, 3)
TRAINED = ("eprop", "eprop:hops=1", "eprop:hops=2", "bptt")
ROWS = Path(__file__).parents[1] / "docs" / "results" / "hops.jsonl"
JOB = ("kind", "rule", "size", "seed")


def network(size: float) -> nn.Sequential:
    """Return one recurrent layer of 64 units, its recurrent weights drawn with a standard deviation, and a readout."""
    ring = nn.Linear(64, 64, bias=False)
    nn.init.normal_(ring.weight, std=size)
    hidden = tt.Layer(nn.Linear(20, 64), tt.LIF(half_life=5.0), recurrent=ring)
    return nn.Sequential(hidden, tt.Layer(nn.Linear(64, 5), tt.LI(half_life=10.0)))


def gradients(size: float, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each number of hops."""
    torch.manual_seed(seed)
    net, xs = network(size).double(), torch.bernoulli(torch.full((50, 4, 20), 0.1)).double()
    tt.init_firing(net, xs, rate=0.1)
    targets = torch.randn(50, 4, 5, dtype=torch.float64)

    def loss(ys: Tensor, steps: slice) -> Tensor:
        return 0.5 * ((ys - targets[steps]) ** 2).sum()

    want = rule_gradients(net, xs, loss, tt.rules.bptt(), splits=[50]).grads
    names = {"input": "0.synapse.weight", "recurrent": "0.recurrent.weight"}
    for hops in HOPS:
        got = rule_gradients(net, xs, loss, tt.rules.eprop(hops=hops), splits=[50]).grads
        cosines = {key: round(agreement(got[name], want[name]).cosine, 5) for key, name in names.items()}
        ratio = float(f"{float(got[names['input']].norm() / want[names['input']].norm()):.4g}")
        rule = f"eprop:hops={hops}" if hops else "eprop"
        yield {"kind": "gradient", "rule": rule, "size": size, "seed": seed, "norm_ratio": ratio, **cosines}


def train(rule: str, size: float, seed: int, steps: int) -> dict[str, Any]:
    """Train on the task, and return its score."""
    settings = {"recurrent": True, "hidden": 64, "seed": seed, "steps": steps, "eval_every": steps}
    trainer = Trainer(make("randman", settings), rule=rule)
    generator = torch.Generator().manual_seed(seed)
    for layer in tt.layers(trainer.net).values():
        if layer.recurrent is not None:
            nn.init.normal_(layer.recurrent.weight, std=size, generator=generator)
    tt.init_firing(trainer.net, trainer.task.batch(0).x, 0.1)
    for _ in trainer.events():
        pass
    job = {"kind": "score", "rule": rule, "size": size, "seed": seed, "iterations": steps}
    return {**job, **trainer.evaluate()}


def table(rows: Sequence[Row], kind: str, keys: Sequence[str]) -> str:
    """Return rows of a kind as Markdown: mean over seeds, and the least."""
    heads = [f"{key}, {size}" if len(keys) > 1 else str(size) for size in SIZES for key in keys]
    text = []
    latest = [row for row in lines.latest(rows, *JOB) if row["kind"] == kind]
    for rule in dict.fromkeys(row["rule"] for row in latest):
        cells = []
        for size in SIZES:
            for key in keys:
                found = [row[key] for row in latest if (row["rule"], row["size"]) == (rule, size)]
                cells.append(f"{statistics.fmean(found):.3f} ({min(found):.3f})" if found else "–")
        text.append([rule, *cells])
    return lines.markdown(["rule", *heads], text)


def main() -> None:
    parser = lines.parser(__doc__, ROWS)
    parser.add_argument("--steps", type=int, default=100, help="training iterations of each network; 0 for no training")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.table:
        jobs = [("gradient", "eprop", size, seed) for size in SIZES for seed in SEEDS]
        lines.complete(arguments.rows, JOB, jobs, lambda _kind, _rule, size, seed: gradients(size, seed))
        jobs = [("score", rule, size, seed) for seed in SEEDS for size in SIZES for rule in TRAINED if arguments.steps]
        lines.complete(arguments.rows, JOB, jobs, lambda _kind, *job: train(*job, arguments.steps))
    rows = lines.read(arguments.rows)
    print("Cosine to BPTT\n\n" + table(rows, "gradient", ("input", "recurrent")))
    print("\nNorm over BPTT's, input weights\n\n" + table(rows, "gradient", ("norm_ratio",)))
    print("\nHeld-out accuracy\n\n" + table(rows, "score", ("accuracy",)))


if __name__ == "__main__":
    main()
