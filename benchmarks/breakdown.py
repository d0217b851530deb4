"""Tell where an iteration of W1 goes: ``python -m benchmarks.breakdown trace last``.

Milliseconds of an iteration in each function that walks, multiplies or filters, by layer where it is called once for
each. Under Python's profiler: what is small and called often looks larger than it is.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import tracetorch as tt
from benchmarks import own, settings
from benchmarks.problem import make_arrays

PARTS = {
    "scan": ("tracetorch/scan.py", "scan"),
    "  walks forward": ("tracetorch/ops/walk.py", "forward"),
    "backward": ("torch/_tensor.py", "backward"),
    "  walks back": ("tracetorch/ops/walk.py", "reverse"),
    "  credit's filter": ("tracetorch/ops/walk.py", "credit_back"),
    "  gradients over events": ("tracetorch/ops/walk.py", "weight_grad"),
    "  gradients, dense": ("tracetorch/ops/products.py", "outer_sum"),
    "  credit sent below": ("tracetorch/traces/instant.py", "send_below"),
    "eligibilities carried": ("tracetorch/ops/walk.py", "carry_full"),
    "optimizer": ("torch/optim/adam.py", "step"),
}


def iterate(
    net: nn.Sequential, windows: tuple[torch.Tensor, ...], y: torch.Tensor, opt: torch.optim.Optimizer, loss: str
) -> None:
    """Train once on the sequence; windows before the last only carry the traces on."""
    tt.reset(net)
    opt.zero_grad()
    for part in windows[:-1]:
        tt.scan(net, part, out="last")
    x = windows[-1]
    if loss == "last":
        functional.cross_entropy(tt.scan(net, x, out="last"), y).backward()
    else:
        functional.cross_entropy(tt.scan(net, x).flatten(0, 1), y.repeat(x.shape[0])).backward()
    opt.step()


def main() -> None:
    """Print the mean over the turns, part by part."""
    parser = argparse.ArgumentParser("python -m benchmarks.breakdown", description=__doc__)
    parser.add_argument("rule", choices=sorted(tt.rules.PRESETS))
    parser.add_argument("loss", choices=("last", "every"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--window", type=int, help="steps of a window; all of them if not given")
    parser.add_argument("--decays", choices=("shared", "neuron"), default="shared")
    parser.add_argument("--turns", type=int, default=50)
    words = parser.parse_args()
    workload = replace(settings.chosen(["W1"])[0], steps=(words.steps,), losses=("last",))
    arrays = make_arrays(workload.groups()[0])
    shape = {"network": {"hidden": workload.network.hidden, "stride": workload.network.stride}}
    net = own.build(arrays, shape, decays=words.decays)
    tt.set_rule(net, tt.rules.PRESETS[words.rule]())
    windows = torch.from_numpy(arrays["x"]).float().split(words.window or words.steps)
    y = torch.from_numpy(arrays["y"])
    opt = torch.optim.Adam(net.parameters(), lr=workload.learning_rate, fused=True)
    for _ in range(5):
        iterate(net, windows, y, opt, words.loss)
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(words.turns):
        iterate(net, windows, y, opt, words.loss)
    profiler.disable()
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    for label, (file, name) in PARTS.items():
        rows = [row for (path, _, what), row in stats.items() if what == name and Path(path).as_posix().endswith(file)]
        if rows:
            calls, total = (sum(row[i] for row in rows) for i in (1, 3))
            print(f"{label:24} {1e3 * total / words.turns:7.2f} ms in {calls / words.turns:.0f} calls")


if __name__ == "__main__":
    main()
