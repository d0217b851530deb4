"""Draw the first page's four panels and that of an iteration's time: `python docs/_scripts/draw_glance.py`.

Every number is read from a committed file: `_static/figures/memory.json` (`measure_memory.py`), `results/gap.jsonl`
(`measure_gap.py`), `results/depth.jsonl` (`python -m benchmarks.depth`) and the tables of `speed_rivals.md`.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tracetorch.plot import COLOURS, label, new_figure, rule_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = Path(__file__).parents[1]
FIGURES = DOCS / "_static" / "figures"
SIZE = (4.6, 3.7)
LETTERS = 11.5
"""Points, so that letters can be read where a telephone shows a panel 300 pixels wide."""
STEP = {
    "traceTorch `trace`, `tt.Stream`": "traceTorch trace, tt.Stream",
    "traceTorch `cascade`, `tt.Stream`": "traceTorch cascade, tt.Stream",
    "BrainTrace `pp_prop`": "BrainTrace pp_prop",
    "traceTorch `trace`, a call per step": "traceTorch trace, net(x)",
    "Norse, cut at every step; BPTT": "Norse",
    "SpikingJelly, cut at every step; BPTT": "SpikingJelly",
    "snnTorch, cut at every step; BPTT": "snnTorch",
}
"""Rows of the table of single steps in `speed_rivals.md`, with the names that the figure gives them."""
ITERATION = {
    "traceTorch, inference": "traceTorch, inference",
    "traceTorch `trace`": "traceTorch trace",
    "traceTorch `eprop`": "traceTorch eprop",
    "traceTorch `cascade`": "traceTorch cascade",
    "BrainTrace `pp_prop` (faster of two forms)": "BrainTrace pp_prop",
    "traceTorch `bptt`": "traceTorch bptt",
    "SpikingJelly, OTTT": "SpikingJelly OTTT",
    "SpikingJelly, BPTT": "SpikingJelly BPTT",
    "snnTorch, BPTT (faster of two forms)": "snnTorch BPTT",
    "Norse, BPTT": "Norse BPTT",
}
"""The same for the table of training iterations; its first column is drawn."""


def rows(name: str) -> list[dict[str, Any]]:
    """Return the lines of a file of results."""
    return [json.loads(line) for line in (DOCS / "results" / name).read_text("utf-8").splitlines()]


def means(values: list[tuple[str, float, float]]) -> dict[str, tuple[list[float], list[float]]]:
    """Return, by series, the places and the mean of the values at each, from triples of series, place and value."""
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for series, place, value in values:
        found[series][place].append(value)
    return {s: (sorted(at), [fmean(at[x]) for x in sorted(at)]) for s, at in found.items()}


def darker(colour: str) -> str:
    """Return a colour in which small letters can be read on white."""
    return "#" + "".join(f"{int(0.65 * int(colour[i : i + 2], 16)):02X}" for i in (1, 3, 5))


def lines(ax: Axes, series: dict[str, tuple[list[float], list[float]]], words: dict[str, tuple[str, Any]]) -> None:
    """Draw one line per rule, each with its words beside its last point, moved by some points."""
    for rule, style in zip(words, rule_styles(list(words)), strict=True):
        xs, ys = series[rule]
        ax.plot(xs, ys, linewidth=1.8, markersize=5.5, **style)
        text, (at, shift) = words[rule]
        point = (xs[at], ys[at])
        side = "right" if shift[0] < 0 else "left" if shift[0] > 0 else "center"
        ax.annotate(
            text, point, shift, textcoords="offset points", ha=side, fontsize=LETTERS, color=darker(style["color"])
        )


def memory(ax: Axes) -> None:
    """Draw peak memory against the number of steps."""
    told = json.loads((FIGURES / "memory.json").read_text())
    series = {rule: (told["steps"], told["mib"][rule]) for rule in ("bptt", "trace")}
    lines(ax, series, {"bptt": ("bptt: the whole graph", (-1, (-12, -4))), "trace": ("trace", (-1, (-2, 7)))})
    ax.set_ylim(-15, 900)
    label(ax, title="Memory does not grow", x="time steps in a sequence", y="memory that learning takes (MiB)")


def gap(ax: Axes) -> None:
    """Draw accuracy against the gap between cue and answer."""
    series = means([(r["rule"], r["gap"], 100 * r["accuracy"]) for r in rows("gap.jsonl")])
    words = {
        "eprop": ("eprop", (-1, (-2, -14))),
        "trace": ("trace", (-1, (-4, 8))),
        "tbptt:100": ("BPTT, window 100", (2, (7, 6))),
        "tbptt:20": ("BPTT,\nwindow 20", (1, (-7, -10))),
    }
    lines(ax, series, words)
    ax.set_xscale("log")
    ax.set_xticks(series["eprop"][0], [f"{x:g}" for x in series["eprop"][0]])
    ax.minorticks_off()
    ax.axhline(50, color="#444444", linewidth=0.8, linestyle=":")
    ax.set_ylim(30, 104)
    label(
        ax, title="A cue 1,000 steps back is learnt", x="steps between cue and answer", y="right answers (%), chance 50"
    )


def depth(ax: Axes) -> None:
    """Draw the lowest layer's cosine to BPTT against the number of hidden layers."""
    audits = [r for r in rows("depth.jsonl") if r["kind"] == "audit" and r["trained_by"] == "bptt"]
    series = means([(r["rule"], r["hidden_layers"], r["cosine"][0]) for r in audits if r["cosine"][0] is not None])
    words = {
        "cascade": ("cascade", (1, (8, 6))),
        "trace": ("trace", (-1, (-4, -16))),
        "eprop": ("eprop, drtrl, ottt", (1, (4, 8))),
        "sltt": ("sltt: no credit for the past", (-1, (-2, -16))),
    }
    lines(ax, series, words)
    ax.set_xticks(series["cascade"][0])
    ax.set_ylim(0.2, 1.05)
    label(ax, title="Credit reaches deep layers", x="hidden layers", y="lowest layer: cosine to BPTT")


def bars(ax: Axes, head: str, names: dict[str, str]) -> float:
    """Draw the first column of the table in `speed_rivals.md` that begins with `head`, and return its least value."""
    text = (DOCS / "speed_rivals.md").read_text("utf-8").split(head)[1].split("\n\n")[0]
    told = {name: float(value) for name, value in re.findall(r"^\| ([^|]+?) \| ([\d.]+) \|", text, flags=re.MULTILINE)}
    values = [told[name] for name in names]
    most, ours = max(values), ["traceTorch" in name for name in names]
    ax.barh(range(len(names)), values, 0.72, color=[COLOURS[0] if own else "#B9BEC4" for own in ours])
    for row, (name, value, own) in enumerate(zip(names.values(), values, ours, strict=True)):
        shown, inside = f"{value:.0f}" if value >= 20 else f"{value:.1f}", value > 0.55 * most
        words, style = shown if inside else f"{shown}  {name}", {"textcoords": "offset points", "fontsize": LETTERS}
        ax.annotate(words, (value, row), (4, -4), color="#222222", **style)
        if inside:
            ax.annotate(name, (0, row), (6, -4), color="#FFFFFF" if own else "#222222", **style)
    ax.set_yticks([])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, 1.16 * most)
    ax.grid(visible=False, axis="y")
    return min(values)


def speed(ax: Axes) -> None:
    """Draw the microseconds of one step of online learning."""
    least = bars(ax, "| | an update at each step |", STEP)
    label(ax, title=f"A learning step takes {least:.0f} µs", x="µs a step, batch 1, one thread")


def iteration(ax: Axes) -> None:
    """Draw the milliseconds of one training iteration."""
    bars(ax, "| | T = 100, last output |", ITERATION)
    label(ax, title="A training iteration of 100 steps", x="ms, batch 64, loss at the last step, two threads")


def main() -> None:
    """Draw the panels."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "tracetorch"
    for panel in (memory, gap, depth, speed, iteration):
        figure, axes = new_figure(1, size=SIZE)
        ax = axes[0, 0]
        panel(ax)
        ax.tick_params(labelsize=LETTERS)
        for axis in (ax.xaxis, ax.yaxis):
            axis.label.set_fontsize(LETTERS)
        ax.set_title(ax.get_title(loc="left"), loc="left", fontsize=13, fontweight="bold", color="#222222")
        figure.savefig(FIGURES / f"glance_{panel.__name__}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
