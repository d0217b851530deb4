"""Measure what a network learns of a cue against how long ago it was: `python docs/_scripts/measure_gap.py`.

One of two groups of inputs fires for five steps, then only noise for a gap, then the network is asked which group it
was. The loss comes once, at the end. The network, 20-32-2 with a readout of half-life 1,000, is the same for all rules.
BPTT in a window of 20 or 100 steps starts at the state that the steps before left behind, as a truncated training loop
does. Every row is appended to `docs/results/gap.jsonl`, and those that are there are not measured again.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

import tracetorch as tt

ROWS = Path(__file__).parents[1] / "results" / "gap.jsonl"
GAPS, SEEDS, ITERATIONS, BATCH, CUE = (10, 30, 100, 300, 1000), range(5), 300, 64, 5
RULES: dict[str, tuple[tt.Rule, int | None]] = {
    "trace": (tt.rules.trace(), None),
    "eprop": (tt.rules.eprop(), None),
    "tbptt:100": (tt.rules.tbptt(), 100),
    "tbptt:20": (tt.rules.tbptt(), 20),
    "sltt": (tt.rules.sltt(), None),
}


def trials(gap: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw inputs [T, B, 20] and which group fired, [B]."""
    y = torch.randint(2, (BATCH,))
    rates = torch.full((CUE + gap, BATCH, 20), 0.01)
    rates[:CUE] += 0.49 * nn.functional.one_hot(y, 2).repeat_interleave(10, dim=1)
    return torch.bernoulli(rates), y


def accuracy(name: str, gap: int, seed: int) -> float:
    """Train; return the share of right answers in the last fifth of the trials."""
    rule, window = RULES[name]
    torch.manual_seed(seed)
    net = nn.Sequential(
        tt.Layer(nn.Linear(20, 32), tt.LIF(half_life=5)),
        tt.Layer(nn.Linear(32, 2), tt.LI(half_life=float(max(GAPS)))),
    )
    tt.set_rule(net, rule)
    opt, right = torch.optim.Adam(net.parameters(), lr=5e-3), []
    for i in range(ITERATIONS):
        xs, y = trials(gap)
        tt.reset(net)
        if window is not None and window < len(xs):
            with torch.no_grad():
                tt.scan(net, xs[:-window], out="last")
            xs = xs[-window:]
        out = tt.scan(net, xs, out="last")
        nn.functional.cross_entropy(out, y).backward()
        opt.step()
        opt.zero_grad()
        if i >= 0.8 * ITERATIONS:
            right.append((out.argmax(1) == y).float().mean())
    return float(torch.stack(right).mean())


def main() -> None:
    """Measure every row that is missing."""
    ROWS.touch()
    done = {(r["rule"], r["gap"], r["seed"]) for r in map(json.loads, ROWS.read_text("utf-8").splitlines())}
    for name in RULES:
        for gap in GAPS:
            for seed in SEEDS:
                if (name, gap, seed) in done:
                    continue
                row = {"rule": name, "gap": gap, "seed": seed, "accuracy": round(accuracy(name, gap, seed), 4)}
                with ROWS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
