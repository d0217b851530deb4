"""Measure what learning keeps in memory against the number of steps, and draw it.

Run as `python docs/_scripts/measure_memory.py`. Each point is a process of its own: a network of two spiking layers and
a readout takes T single steps with a loss at each. The number is the greatest resident memory while it learns, less
what was resident once the network had taken two steps. `--draw` draws the numbers that were measured before, which lie
beside the figure.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

FIGURES = Path(__file__).parents[1] / "_static" / "figures"
NUMBERS = FIGURES / "memory.json"
BATCH, SIZES = 32, (700, 256, 256, 20)
STEPS = (25, 50, 100, 200, 400, 800, 1600)
RULES = ("bptt", "drtrl", "trace")
SHARE = 1024 if sys.platform != "darwin" else 1024**2
"""Of `ru_maxrss` in one MiB: kibibytes on Linux, bytes on macOS."""


def learn(name: str, steps: int) -> float:
    """Learn from `steps` steps and return the memory that it took, in MiB."""
    import torch
    from torch import nn

    import tracetorch as tt

    torch.manual_seed(0)
    # Decays of each neuron's own, so that the full eligibility of drtrl needs one number per weight.
    lives = [torch.linspace(5, 50, n) for n in SIZES[1:-1]]
    hidden = [tt.Layer(nn.Linear(a, n), tt.LIF(half_life=h)) for a, n, h in zip(SIZES, SIZES[1:], lives, strict=False)]
    net = nn.Sequential(*hidden, tt.Layer(nn.Linear(SIZES[-2], SIZES[-1]), tt.LI(half_life=20)))
    tt.set_rule(net, tt.rules.PRESETS[name]())
    labels = torch.randint(SIZES[-1], (BATCH,))

    def run(count: int) -> None:
        tt.reset(net)
        losses = []
        for _ in range(count):
            loss = nn.functional.cross_entropy(net((torch.rand(BATCH, SIZES[0]) < 0.05).float()), labels)
            if name == "bptt":
                losses.append(loss)
            else:
                loss.backward()
        if losses:
            torch.stack(losses).sum().backward()

    run(2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(steps)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / SHARE


def measure() -> None:
    """Measure every point and write the numbers."""
    found = {}
    for name in RULES:
        found[name] = []
        for steps in STEPS:
            told = subprocess.run(
                [sys.executable, __file__, name, str(steps)], check=True, capture_output=True, text=True
            ).stdout
            found[name].append(round(float(told), 1))
            print(name, steps, found[name][-1], "MiB", flush=True)
    NUMBERS.write_text(json.dumps({"steps": STEPS, "batch": BATCH, "sizes": SIZES, "mib": found}, indent=1) + "\n")


def draw() -> None:
    """Draw the numbers."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "tracetorch"
    from tracetorch.plot import label, new_figure, rule_styles

    told = json.loads(NUMBERS.read_text())
    figure, axes = new_figure(1, 1, size=(7.2, 3.8))
    ax = axes[0, 0]
    words = {
        "bptt": "bptt: the whole graph",
        "drtrl": "drtrl: one number per weight",
        "trace": "trace: one number per input, a few per unit",
    }
    for name, values in told["mib"].items():
        (look,) = rule_styles([name])
        ax.plot(told["steps"], values, linewidth=2, **look)
        x, y = told["steps"][-1], values[-1]
        place = {"bptt": (-10, -2), "drtrl": (0, 7), "trace": (0, -14)}[name]
        ax.annotate(words[name], (x, y), place, textcoords="offset points", ha="right", fontsize=9, color="#222222")
    sizes = "-".join(map(str, told["sizes"]))
    ax.set_ylim(bottom=-60)
    label(
        ax,
        title=f"Memory that learning takes, {sizes}, batch {told['batch']}, float32",
        x="number of time steps",
        y="peak memory above the start (MiB)",
    )
    figure.savefig(FIGURES / "memory.svg", metadata={"Date": None})


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(learn(sys.argv[1], int(sys.argv[2])))
    else:
        if "--draw" not in sys.argv:
            measure()
        draw()
