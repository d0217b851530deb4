"""Time one online learning step at batch 1, eager and fused: ``python -m benchmarks.stream_step``.

LIF 700-256-256 and a leaky readout of 20, 5 % input events, cross-entropy and plain SGD at every step, one thread. Both
take turns in blocks of steps; printed are medians over all steps, in microseconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

import tracetorch as tt

SIZES = (700, 256, 256, 20)
LR = 1e-7


def network(rule: tt.Rule) -> nn.Sequential:
    torch.manual_seed(0)
    layers = []
    for i, (inputs, units) in enumerate(pairwise(SIZES)):
        neuron = tt.LIF(half_life=10) if i < len(SIZES) - 2 else tt.LI(half_life=10)
        layers.append(tt.Layer(nn.Linear(inputs, units, bias=False), neuron))
    net = nn.Sequential(*layers)
    with torch.no_grad():
        net[0].synapse.weight.mul_(4)
        net[1].synapse.weight.mul_(3)
    tt.set_rule(net, rule)
    tt.reset(net)
    return net


def eager(rule: tt.Rule) -> Callable[[torch.Tensor, torch.Tensor], object]:
    net = network(rule)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)

    def step(x: torch.Tensor, target: torch.Tensor) -> None:
        functional.cross_entropy(net(x), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def rates(rule: tt.Rule, xs: list[torch.Tensor]) -> list[float]:
    net = network(rule)
    total = [0.0] * (len(net) - 1)
    with torch.no_grad():
        for z in xs:
            for i, layer in enumerate(net):
                z = layer(z)
                if i < len(total):
                    total[i] += float(z.mean()) / len(xs)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="steps in a block")
    parser.add_argument("--blocks", type=int, default=5, help="blocks of each kind")
    parser.add_argument("--rules", nargs="+", default=["trace", "ottt", "sltt"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    xs = [(torch.rand(1, SIZES[0]) < 0.05).float() for _ in range(options.steps)]
    targets = [torch.randint(0, SIZES[-1], (1,)) for _ in range(options.steps)]
    print(
        f"torch {torch.__version__}, one thread; median microseconds per step, {options.blocks} x {options.steps} steps"
    )
    for name in options.rules:
        rule = tt.rules.PRESETS[name]()
        ways = {"eager": eager(rule), "fused": tt.Stream(network(rule), lr=LR)}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for block in range(options.blocks + 1):
            for way, step in ways.items():
                for x, target in zip(xs, targets, strict=True):
                    began = time.perf_counter()
                    step(x, target)
                    if block:  # the first warms up and compiles
                        times[way].append((time.perf_counter() - began) * 1e6)
        medians = {way: statistics.median(t) for way, t in times.items()}
        firing = ", ".join(f"{100 * r:.0f} %" for r in rates(rule, xs))
        ratio = medians["eager"] / medians["fused"]
        found = "  ".join(f"{way} {value:7.1f}" for way, value in medians.items())
        print(f"{name:8} {found}  ratio {ratio:5.1f}  firing {firing}")


if __name__ == "__main__":
    main()
