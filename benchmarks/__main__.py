"""Run the benchmarks: ``python -m benchmarks [W1 ...] [--rivals NAMES] [--against PYTHON] [--json FILE]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import envs, goals
from benchmarks.figure import draw
from benchmarks.measure import QUICK_EFFORT, Effort, against_place, run
from benchmarks.registry import RIVALS
from benchmarks.results import Report, read
from benchmarks.rows import Library
from benchmarks.settings import chosen, quick
from benchmarks.tables import as_markdown
from tracetorch.plot.style import save


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the words of the command line ask for.

    Args:
        arguments: The words; those of the process by default.

    Returns:
        The exit code: 0; 1 where a row failed or its network was another; 2 where a word is wrong.
    """
    parser = _parser()
    words = parser.parse_args(arguments)
    try:
        report = _report(words)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    text = as_markdown(report) + "\n" + ("" if report.options["quick"] else goals.as_markdown(goals.check(report)))
    print(text)
    for path, content in ((words.json, report.as_json()), (words.markdown, text)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    if words.figure is not None:
        save(draw(report), words.figure)
    return 0 if report.sound else 1


def _report(words: argparse.Namespace) -> Report:
    """Return the run that was asked for: a new one, or one read from a file."""
    if words.read is not None:
        return read(words.read)
    workloads = [quick(w) if words.quick else w for w in chosen(words.workloads)]
    narrower = {"steps": words.steps, "losses": words.losses, "updates": words.updates}
    workloads = [replace(w, **{k: tuple(v) for k, v in narrower.items() if v}) for w in workloads]
    libraries = rivals(words.rivals or ("none" if words.against else "all"))
    effort = QUICK_EFFORT if words.quick else Effort()
    if words.rounds is not None:
        effort = replace(effort, rounds=words.rounds)
    start = time.monotonic()

    def log(line: str) -> None:
        print(f"[{time.monotonic() - start:6.0f} s] {line}", file=sys.stderr, flush=True)

    places = [envs.place(library, words.envs, log=log) for library in libraries]
    if words.against is not None:
        places.append(against_place(words.against))
    report = run(workloads, others=places, threads=words.threads, effort=effort, log=log)
    report.options["quick"] = words.quick
    return report


def rivals(word: str) -> list[Library]:
    """Return the rivals of a word: ``none``, ``all``, or names with commas between.

    Args:
        word: The word.

    Returns:
        The rivals.

    Raises:
        ValueError: A name is unknown.
    """
    if word == "none":
        return []
    if word == "all":
        return list(RIVALS.values())
    names = [name.strip().lower() for name in word.split(",") if name.strip()]
    unknown = [name for name in names if name not in RIVALS]
    if unknown or not names:
        raise ValueError(f"--rivals takes none, all, or some of {','.join(RIVALS)}, got {word!r}")
    return [RIVALS[name] for name in names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure this library beside its rivals.")
    parser.add_argument("workloads", nargs="*", metavar="W", help="workloads such as W1; all if none is named")
    parser.add_argument("--steps", type=int, nargs="+", metavar="T", help="these time steps, not the table's")
    parser.add_argument("--losses", nargs="+", choices=("last", "every"), help="these losses, not the table's")
    parser.add_argument("--updates", nargs="+", choices=("each", "end"), help="these updates, not the table's")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to see that everything runs")
    parser.add_argument("--rivals", help=f"none (the default beside --against), all, or some of {','.join(RIVALS)}")
    parser.add_argument(
        "--against", type=Path, metavar="PYTHON", help="interpreter with another version of this library, to pair with"
    )
    parser.add_argument("--envs", type=Path, default=envs.default_folder(), help="folder of their environments")
    parser.add_argument("--threads", type=int, help="threads of each row; the number of cores if not given")
    parser.add_argument("--rounds", type=int, help="turns of each row")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw a figure (.png, .svg, .pdf)")
    parser.add_argument("--read", type=Path, metavar="FILE", help="show the results of a --json file, run nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
