"""Draw the library at a glance, memory and accuracy side by side: `python docs/_scripts/draw_glance.py`.

Memory is read from what `measure_memory.py` measured, accuracies from the tables of `docs/results.md`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

DOCS = Path(__file__).parents[1]
FIGURES = DOCS / "_static" / "figures"
TASKS = {
    "clicks, half-lives learned": ("Poisson clicks", 2),
    "MNIST in 20 steps": ("MNIST", 1),
    "ECG, 650,000 steps": ("An ECG as one stream", 1),
    "8×8 digits, row by row": ("Digits, row by row in time", 1),
}
"""Section of the results and number of the table in it, by the words of the figure."""
BESIDE = ("sltt", "frozen", "tbptt", "bptt", "trace")
WORDS = {
    "trace": "trace: flat memory",
    "bptt": "bptt: the whole graph",
    "tbptt": "tbptt: the stretch between beats",
    "frozen": "hidden layers frozen",
    "sltt": "sltt: no credit for the past",
}


def accuracies(heading: str, number: int) -> dict[str, float]:
    """Return a table of a section of the results: accuracy in percent by rule."""
    section = (DOCS / "results.md").read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    table = section.split("\n|---")[number].split("\n\n")[0]
    rows = re.findall(r"^\| (\w+) \| ([\d.]+)", table, flags=re.MULTILINE)
    return {rule: float(value) for rule, value in rows if rule in BESIDE}


def main() -> None:
    """Draw both panels."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "tracetorch"
    from tracetorch.plot.style import COLOURS, GREY, label, legend, new_figure

    figure, axes = new_figure(1, 2, size=(9.6, 3.6))
    memory, accuracy = axes[0]
    told = json.loads((FIGURES / "memory.json").read_text())
    looks = {
        "trace": (COLOURS[0], "o"),
        "bptt": (COLOURS[1], "s"),
        "tbptt": (COLOURS[4], "D"),
        "frozen": (GREY, "v"),
        "sltt": (COLOURS[3], "x"),
    }
    for rule in ("bptt", "trace"):
        colour, mark = looks[rule]
        memory.plot(told["steps"], told["mib"][rule], color=colour, marker=mark, linewidth=2)
        memory.annotate(
            WORDS[rule],
            (told["steps"][-1], told["mib"][rule][-1]),
            (-12, -3) if rule == "bptt" else (0, 8),
            textcoords="offset points",
            ha="right",
            fontsize=9,
            color=colour,
        )
    memory.set_ylim(bottom=-15)
    label(memory, title="Memory that learning takes", x="time steps in a sequence", y="MiB above the start")
    seen: set[str] = set()
    for place, table in enumerate(TASKS.values()):
        for rule, value in accuracies(*table).items():
            colour, mark = looks[rule]
            name = None if rule in seen else WORDS[rule]
            seen.add(rule)
            height = place - 0.16 * (rule in ("bptt", "tbptt"))
            accuracy.plot(value, height, mark, color=colour, label=name, markersize=8)
    accuracy.set_yticks(range(len(TASKS)), list(TASKS))
    accuracy.set_xlim(15, 102)
    accuracy.set_ylim(3.5, -0.5)
    label(accuracy, title="Accuracy, the same network under each rule", x="accuracy (%)")
    legend(accuracy, loc="lower left", bbox_to_anchor=(0.0, 0.16))
    figure.savefig(FIGURES / "glance.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
