"""Measure how close each rule's gradient is to BPTT's, layer by layer, and draw it.

Run as `python docs/_scripts/measure_depth.py`: four hidden layers of 20 LIF neurons and a leaky readout, all with
half-lives of 10 steps, each made to fire in about a quarter of the steps; 60 steps of noise, a loss at every step or
one at the end. The lesson "What is exact, and what is dropped" has the same networks with the code in sight. `--draw`
draws the numbers that were measured before, which lie beside the figure.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

FIGURES = Path(__file__).parents[1] / "_static" / "figures"
NUMBERS = FIGURES / "depth.json"
T, B, INPUTS, UNITS, OUT, HIDDEN, SEEDS = 60, 6, 16, 20, 3, 4, 5
RULES = {"cascade": 1, "trace": 1, "eprop": 1, "drtrl": 1, "ottt": 1, "traced_bptt": 10, "tbptt": 10, "sltt": 1}
"""Rules, and the steps in each window."""


def cosines(name: str, seed: int, out: str) -> list[float]:
    """Return the cosine of each layer's weights, the readout first."""
    import torch
    from torch import nn

    import tracetorch as tt
    from tracetorch.testing import calibrate, gradient_audit

    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float64)
    xs = torch.bernoulli(torch.full((T, B, INPUTS), 0.3))
    wanted = torch.sin(2 * math.pi * (torch.arange(T)[:, None, None] / 20 + torch.rand(1, B, OUT)))
    sizes = [INPUTS] + [UNITS] * HIDDEN
    stack = [tt.Layer(nn.Linear(size, UNITS), tt.LIF(half_life=10)) for size in sizes[:-1]]
    net = nn.Sequential(*stack, tt.Layer(nn.Linear(UNITS, OUT), tt.LI(half_life=10, normalized=True)))
    calibrate(net, xs)
    rows = gradient_audit(
        net,
        xs,
        lambda ys, steps: 0.5 * ((ys - wanted[steps]) ** 2).sum(),
        tt.rules.PRESETS[name](),
        window=RULES[name],
        out="last" if out == "last" else "all",
    ).rows
    return [rows[f"{i}.synapse.weight"].cosine for i in reversed(range(HIDDEN + 1))]


def measure() -> None:
    """Measure every rule and write the numbers: by kind of loss, rule, seed and layer."""
    found = {
        out: {name: [[round(c, 4) for c in cosines(name, seed, out)] for seed in range(SEEDS)] for name in RULES}
        for out in ("all", "last")
    }
    NUMBERS.write_text(json.dumps({"windows": RULES, "cosines": found}, indent=1) + "\n")


def draw() -> None:
    """Draw means over the seeds, with a bar from the least to the greatest."""
    import matplotlib
    import numpy as np

    matplotlib.rcParams["svg.hashsalt"] = "tracetorch"
    from tracetorch.plot import label, legend, new_figure, rule_styles

    told = json.loads(NUMBERS.read_text())
    figure, axes = new_figure(1, 2, size=(8.4, 4.0), sharey=True)
    layers = range(HIDDEN + 1)
    titles = {"all": "A loss at every step", "last": "One loss at the end"}
    for ax, (out, rows) in zip(axes[0], told["cosines"].items(), strict=True):
        del rows["ottt"]  # decays are shared and resets are soft and detached here: it lies on drtrl
        for row, ((name, seeds), look) in enumerate(zip(rows.items(), rule_styles(list(rows)), strict=True)):
            values = np.array(seeds)
            window = told["windows"][name]
            places = np.arange(HIDDEN + 1) + 0.07 * (row - 3)
            mean = values.mean(0)
            ax.vlines(places, values.min(0), values.max(0), color=look["color"], linewidth=1, alpha=0.6)
            ax.plot(
                places,
                mean,
                markersize=6,
                label=name if window == 1 else f"{name}, windows of {window}",
                **look,
            )
            print(out, f"{name:12}", " ".join(f"{m:+.2f}" for m in mean))
        ax.set_xticks(layers, ["readout", *(f"−{i}" for i in range(1, HIDDEN + 1))])
        ax.set_ylim(-0.55, 1.04)
        label(ax, title=titles[out], x="layer, counted from the readout")
    label(axes[0, 0], y="cosine to BPTT")
    legend(axes[0, 0], loc="lower left")
    figure.savefig(FIGURES / "depth.svg", metadata={"Date": None})


if __name__ == "__main__":
    if "--draw" not in sys.argv:
        measure()
    draw()
