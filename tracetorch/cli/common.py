"""What the commands share: consoles, clear errors, JSON answers, options in words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from tracetorch.rl.envs import EnvironmentDied
from tracetorch.train.formats import THREADS
from tracetorch.train.schema import plain
from tracetorch.train.script import is_script
from tracetorch.train.tasks import Problem, find, make


def out() -> Console:
    """Return the console of answers, standard output."""
    return Console(highlight=False)


def err() -> Console:
    """Return the console of progress and errors, standard error."""
    return Console(stderr=True, highlight=False)


def fail(message: str) -> typer.Exit:
    """Print what is wrong and what to do in one line on standard error; return the exit with code 2 to raise."""
    line = " ".join(message.split())
    console = err()
    console.print("[bold red]error:[/bold red] ", end="")
    console.print(line, markup=False, soft_wrap=True)
    return typer.Exit(2)


@contextmanager
def clear_errors(*, traceback: bool = False) -> Iterator[None]:
    """Turn errors of bad input, absent files or absent extras into one line and exit code 2; Ctrl-C into 130.

    With `traceback` they pass, to show where they come from.
    """
    try:
        yield
    except (ValueError, OSError, ImportError, FloatingPointError, EnvironmentDied) as error:
        if traceback:
            raise
        raise fail(str(error) or type(error).__name__) from None
    except KeyboardInterrupt:
        err().print("interrupted")
        raise typer.Exit(130) from None


def answer(value: Any) -> None:
    """Write a value as JSON to standard output, one document; NaN and infinity become null."""
    typer.echo(json.dumps(plain(value), indent=2))


def make_task(
    name: str,
    settings: Sequence[str],
    *,
    preset: str | None = None,
    data: str | None = None,
    seed: int | None = None,
    steps: int | None = None,
) -> Problem:
    """Make a task from the words of a command: `settings` are options as ``name=value``."""
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ValueError(f"--set takes name=value, got {setting!r}")
        values[key.strip()] = value.strip()
    if steps is not None and steps < 1:
        raise ValueError(f"--steps must be at least 1, got {steps}")
    for key, choice in (("data", data), ("seed", seed), ("steps", steps)):
        if choice is not None:
            values[key] = choice
    if data is not None and not is_script(name) and "data" not in find(name).__dataclass_fields__:
        raise ValueError(f"task {name!r} reads no data file: leave --data out")
    return make(name, values, preset=preset)


def set_threads(threads: int | None) -> None:
    """Set the number of torch's threads; None leaves it as it is."""
    if threads is None:
        return
    if not 1 <= threads <= THREADS:
        bound = "at least 1" if threads < 1 else f"at most {THREADS}"
        raise ValueError(f"--threads must be {bound}, got {threads}")
    torch.set_num_threads(threads)


def words_of(rules: str) -> list[str]:
    """Return the words of rules with commas between them."""
    return [word.strip() for word in rules.split(",") if word.strip()]


def seeds_from(first: int, count: int) -> range:
    """Return the seeds of a command, at least one."""
    if count < 1:
        raise ValueError(f"--seeds must be at least 1, got {count}")
    return range(first, first + count)


def counted(seeds: int) -> str:
    """Return a number of seeds as a title shows it."""
    return f"{seeds} seed{'s' if seeds > 1 else ''}"


def score_table(scores: Mapping[str, float], *, title: str, metric: str, scored_on: str) -> Table:
    """Return scores as a table, the task's metric in bold."""
    table = Table(title=title, title_justify="left")
    table.add_column("score")
    table.add_column(scored_on, justify="right")
    for name, value in scores.items():
        table.add_row(name, number(value), style="bold" if name == metric else "")
    return table


def number(value: float) -> str:
    """Return a number as a table shows it: whole ones without a point, others with four digits, a dash for NaN.

    >>> number(0.123456), number(12.0), number(1234.5678), number(float("nan"))
    ('0.1235', '12', '1234.6', '–')
    """
    if math.isnan(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.4g}" if abs(value) < 0.01 else f"{value:.4f}"
