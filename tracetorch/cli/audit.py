"""The command ``tracetorch audit``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tracetorch import plot
from tracetorch.cli import options
from tracetorch.cli.common import answer, clear_errors, counted, make_task, out, seeds_from, set_threads, words_of
from tracetorch.data.files import write_file
from tracetorch.testing import RuleAudit, audit
from tracetorch.testing.oracle import Out
from tracetorch.train.choice import read_choice
from tracetorch.train.folder import default_path, versions
from tracetorch.train.schema import plain
from tracetorch.train.script import is_script, read_script
from tracetorch.train.task_audit import audit_task
from tracetorch.train.tasks import Problem

_NEEDS = (
    "beside a network, or a function that makes it from a seed, a script has batch (inputs [T, B, ...] and targets, or "
    "a function that makes them from a seed) and loss (of outputs and targets)"
)
_DEFAULT = "cascade,cascade:pairs=10,cascade:pairs=1,trace,eprop,drtrl,ottt,sltt"


def audit_command(  # noqa: PLR0913 - each argument is an option of the command
    what: Annotated[
        str,
        typer.Argument(
            metavar="TASK|SCRIPT.py:NAME",
            help="A task ('tracetorch list'; or a class in a script), or a network in a script with batch and loss.",
        ),
    ],
    rules: options.Rules = _DEFAULT,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    first_seed: options.FirstSeed = 0,
    window: Annotated[
        int | None, typer.Option(help="Time steps in a window; one scan of all if not given, 1 for a stream's steps.")
    ] = None,
    after: Annotated[int, typer.Option(help="Training iterations of a task before the audit.")] = 0,
    rule: Annotated[str, typer.Option(help="The rule of these iterations.")] = "bptt",
    every: Annotated[bool, typer.Option("--every", help="A script's loss is at every step, not at the last.")] = False,
    data: options.Data = None,
    set_: options.Settings = None,
    preset: options.Preset = None,
    run: Annotated[Path | None, typer.Option(help="The folder for audit.json and the figure.")] = None,
    threads: options.Threads = None,
    figures: Annotated[bool, typer.Option(help="Draw the figure.")] = True,
    json_: options.Json = False,
    traceback: options.Traceback = False,
) -> None:
    """Compare the gradients of rules with that of BPTT, layer by layer; list silent units; measure time and memory."""
    with clear_errors(traceback=traceback):
        if figures:
            plot.require_matplotlib()
        plan, words = seeds_from(first_seed, seeds), words_of(rules)
        set_threads(threads)
        script, _, name = what.rpartition(":")
        subject = read_script(script, name) if is_script(what) else {}
        named = subject.get(name)
        if subject and not (isinstance(named, type) and issubclass(named, Problem)):
            lacks = next((part for part in ("batch", "loss") if part not in subject), None)
            if lacks is not None:
                raise ValueError(f"{script!r} defines no {lacks!r}: {_NEEDS}")
            found = _network(named, subject, words, plan, window=window, every=every)
        else:
            settings = [*(set_ or []), *([] if window is None else [f"window={window}"])]
            task = make_task(what, settings, preset=preset, data=data)
            found = audit_task(task, words, seeds=plan, after=after, trained_by=rule)
        folder = run if run is not None else default_path("runs", "audit", Path(script if subject else what).stem)
        content = {"audited": what, "versions": versions(), **found.as_dict()}
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / "audit.json", (json.dumps(plain(content), indent=2) + "\n").encode())
        figure = None
        if figures and found.agreements:
            series = {word: found.cosines(word) for word in found.agreements}
            figure = plot.save(plot.cosines(series, title=f"Gradients beside BPTT's: {what}"), folder / "audit.png")
        if json_:
            answer({**content, "folder": str(folder), "figure": figure})
            return
        _show(found, f"{what} · {counted(seeds)}")
        for file in (folder / "audit.json", *([figure] if figure else [])):
            out().print(str(file), soft_wrap=True, markup=False, style="dim")


def _network(
    net: Any, subject: Mapping[str, Any], words: Sequence[str], seeds: range, *, window: int | None, every: bool
) -> RuleAudit:
    """Audit the network of a script."""
    choices = {word: read_choice(word) for word in words}
    odd = next((word for word, choice in choices.items() if choice.options), None)
    if odd is not None:
        raise ValueError(f"rule {odd!r} sets an option of a task, which a script does not have: give --window instead")
    rules = {word: choice.rule for word, choice in choices.items()}
    loss_on: Out = "all" if every else "last"
    return audit(net, subject["batch"], subject["loss"], rules=rules, seeds=seeds, window=window, out=loss_on)


def _show(found: RuleAudit, title: str) -> None:
    """Draw the table, the rules that refused, and the firing of each layer."""
    console = out()
    rows = found.rows()
    if rows:
        several = len(found.seeds) > 1
        caption = f"cosine to BPTT's gradient{' (its least over the seeds)' if several else ''} × ratio of the norms"
        table = Table(title=title, title_justify="left", caption=caption)
        for name in rows[0]:
            table.add_column(name, justify="left" if name == "rule" else "right", overflow="fold")
        for row in rows:
            table.add_row(*row.values())
        console.print(table)
    for rule, why in found.refused.items():
        console.print(f"{rule}: refused: {why}", markup=False, soft_wrap=True)
    for line in found.firing_lines():
        console.print(line, markup=False, soft_wrap=True)
