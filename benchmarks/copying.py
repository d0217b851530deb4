"""Recurrent units beside spiking ones and GRU on copying after a delay: python -m benchmarks.copying

The task `copy` without noise: ten symbols of eight kinds are shown, one each step, then comes a delay, then they are
due in the same order; one answer in eight is right by chance. One layer of 64 units reads the input, and a linear map,
GELU and a linear map its outputs (for LIF two layers of 64 under leaky integrators, as in the task itself). Units of
this library run in windows of ten steps, each with its own backward, so that memory does not grow with the delay; since
nothing above the layer has a memory, their gradient is that of BPTT. GRU is torch's own, with BPTT. Two layers of LRU,
a linear map and GELU between them, run under `cascade` with the whole sequence as one window, in which it is BPTT, and
under `drtrl` and `traced_bptt` in windows of ten.

Rows are appended to a file as JSON lines; runs that are there are not run again. `--table` prints the table.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import tracetorch as tt
from benchmarks import lines
from benchmarks.lines import Row
from tracetorch.train import make
from tracetorch.train.tasks.classification import UNLABELLED
from tracetorch.train.tasks.copying import Copy
from tracetorch.train.tasks.seeds import derived_seed

DELAYS, SEEDS, UNITS, STEPS = (20, 100), (0, 1, 2), 64, 1000
TASK = {"symbols": 8, "length": 10, "symbol_steps": 1, "channels": 1, "on": 1.0, "trials": 500, "batch_size": 32}
ROWS = Path(__file__).parents[1] / "docs" / "results" / "copying.jsonl"
JOB = ("unit", "delay", "seed", "iterations")
WHOLE = "2 LRU, cascade"
"""What runs the whole sequence as one window."""


def head(classes: int) -> list[nn.Module]:
    """Return a map without memory from units to classes."""
    return [nn.Linear(UNITS, UNITS), nn.GELU(), nn.Linear(UNITS, classes)]


class Gated(nn.Module):
    """GRU under the head, from windows `[T, B, K]`."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, UNITS)
        self.head = nn.Sequential(*head(classes))

    def forward(self, xs: Tensor) -> Tensor:
        """Return the outputs of all steps."""
        out: Tensor = self.head(self.gru(xs)[0])
        return out


def recurrent(neuron: Callable[[], tt.Neuron]) -> Callable[[int, int], nn.Module]:
    """Return what makes a layer of units of two currents under the head."""
    return lambda inputs, classes: nn.Sequential(
        tt.Layer(nn.Linear(inputs, 2 * UNITS), neuron(), rule=tt.rules.drtrl()), *head(classes)
    )


def stacked(rule: tt.rules.Rule) -> Callable[[int, int], nn.Module]:
    """Return what makes two layers of LRU under the head, by a rule."""

    def net(inputs: int, classes: int) -> nn.Module:
        low, high = (
            tt.Layer(nn.Linear(n, 2 * UNITS), tt.LRU(UNITS, r_min=0.9, r_max=0.999), rule=rule) for n in (inputs, UNITS)
        )
        return nn.Sequential(low, nn.Linear(UNITS, UNITS), nn.GELU(), high, *head(classes))

    return net


def spiking(inputs: int, classes: int) -> nn.Module:
    """Return two layers of LIF neurons under leaky integrators, with credit through all memory above."""
    layers = [tt.Layer(nn.Linear(n, UNITS), tt.LIF(half_life=20.0)) for n in (inputs, UNITS)]
    net = nn.Sequential(*layers, tt.Layer(nn.Linear(UNITS, classes), tt.LI(half_life=2.0)))
    tt.set_rule(net, tt.rules.cascade())
    return net


NETS: dict[str, Callable[[int, int], nn.Module]] = {
    "LRU": recurrent(lambda: tt.LRU(UNITS, r_min=0.9, r_max=0.999)),
    "RTU": recurrent(lambda: tt.RTU(UNITS, r_min=0.9, r_max=0.999)),
    "MinGRU": recurrent(tt.MinGRU),
    "LIF": spiking,
    "GRU": Gated,
    "2 LRU, cascade": stacked(tt.rules.cascade()),
    "2 LRU, traced_bptt": stacked(tt.rules.traced_bptt()),
    "2 LRU, drtrl": stacked(tt.rules.drtrl()),
}
"""What is compared, by name; each makes a network of a number of inputs and of classes."""


def run(unit: str, delay: int, seed: int, steps: int) -> dict[str, Any]:
    """Train one network and score it."""
    window = None if unit == WHOLE else 10
    task = make("copy", {**TASK, "delay": delay, "seed": seed, "steps": steps, "window": window})
    if not isinstance(task, Copy):
        raise TypeError(f"the task 'copy' is {type(task).__name__}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        net = NETS[unit](*task.shape)
    if unit == "LIF":
        tt.init_firing(net, task.batch(0).x)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for iteration in range(steps):
        batch = task.batch(iteration)
        task.schedule(optimizer, iteration)
        optimizer.zero_grad()
        if unit == "GRU":
            loss = nn.functional.cross_entropy(net(batch.x).flatten(0, 1), batch.y.flatten(), ignore_index=UNLABELLED)
            loss.backward()
        else:
            for outcome in task.losses(net, batch):
                if outcome.loss is not None:
                    outcome.loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    return {"unit": unit, "delay": delay, "seed": seed, "iterations": steps, "accuracy": accuracy(task, net)}


@torch.no_grad()
def accuracy(task: Copy, net: nn.Module) -> float:
    """Return the share of right answers on the held-out sequences."""
    if not isinstance(net, Gated):
        return task.evaluate(net)["accuracy"]
    right = total = 0
    for batch in task.held_out(quick=False):
        right += int((net(batch.x).argmax(-1) == batch.y).sum())
        total += int((batch.y != UNLABELLED).sum())
    return right / total


def table(rows: Sequence[Row]) -> str:
    """Return mean accuracies, %, with the lowest over seeds."""
    delays = sorted({row["delay"] for row in rows})
    found = []
    rules = {"LIF": "2 layers, `cascade`", "GRU": "BPTT"}
    for unit in NETS:
        cells = []
        for delay in delays:
            scores = [100 * row["accuracy"] for row in rows if (row["unit"], row["delay"]) == (unit, delay)]
            cells.append(f"{statistics.mean(scores):.1f} ({min(scores):.1f})" if scores else "–")
        name, _, rule = unit.partition(", ")
        layers, _, name = name.rpartition(" ")
        told = f"{layers} layers, `{rule}`" if rule else rules.get(unit, "`drtrl`")
        found.append([f"`{name}`, {told}", *cells])
    return lines.markdown(["unit, rule", *(f"delay {d}" for d in delays)], found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not in the file yet."""
    parser = lines.parser(__doc__, ROWS)
    parser.add_argument("--units", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--delays", nargs="+", type=int, default=list(DELAYS))
    parser.add_argument("--steps", type=int, default=STEPS, help="training iterations")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    jobs = [(u, d, s, options.steps) for s in options.seeds for d in options.delays for u in options.units]
    lines.complete(options.rows, JOB, () if options.table else jobs, run)
    print(table(lines.read(options.rows)))


if __name__ == "__main__":
    main()
