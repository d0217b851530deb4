"""The commands ``tracetorch list`` and ``tracetorch info``."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

import tracetorch as tt
from tracetorch.cli import options
from tracetorch.cli.common import answer, clear_errors, out
from tracetorch.neurons.lowering import NotLowered
from tracetorch.train.folder import versions
from tracetorch.train.tasks import TASKS, Problem, find

_EXTRAS = ("gymnasium", "matplotlib", "numba", "numpy", "rich", "safetensors", "scipy", "sklearn", "triton", "typer")


def list_command(
    task: Annotated[
        str | None, typer.Argument(metavar="[TASK|SCRIPT.py:CLASS]", help="Show this task's options.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """List tasks, rules with what they are exact for, and neurons; or the options of a task."""
    with clear_errors():
        if task is None:
            show({"tasks": _tasks(), "rules": _rules(), "neurons": _neurons()}, json_=json_)
            return
        cls = find(task)
        presets = [{"preset": name, "sets": _words(values)} for name, values in cls.presets.items()]
        show({"options": _options(cls), "presets": presets}, json_=json_)


def show(tables: dict[str, list[dict[str, Any]]], *, json_: bool) -> None:
    """Show rows by title as tables, or as JSON; the keys of a row are the columns."""
    if json_:
        answer(tables)
        return
    console = out()
    for title, rows in tables.items():
        if not rows:
            continue
        table = Table(title=title, title_justify="left", title_style="bold")
        for index, column in enumerate(rows[0]):
            table.add_column(column, style="bold" if index == 0 else "", no_wrap=index == 0)
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        console.print(table)


def _tasks() -> list[dict[str, Any]]:
    return [
        {"task": name, "what": cls.summary, "presets": ", ".join(cls.presets) or "–"} for name, cls in TASKS.items()
    ]


def _rules() -> list[dict[str, Any]]:
    return [
        {"rule": name, "exact for": facts.exact, "drops": facts.drops, "memory": facts.memory}
        for name, facts in tt.rules.FACTS.items()
    ]


def _neurons() -> list[dict[str, Any]]:
    """Return the neurons that the package exports, with their docstring's first line; base classes left out."""
    rows = []
    for name in sorted(dir(tt)):
        value = getattr(tt, name)
        if isinstance(value, type) and issubclass(value, tt.Neuron) and value.step is not tt.Neuron.step:
            rows.append({"neuron": name, "what": (value.__doc__ or "").strip().split("\n")[0].replace("`", "")})
    return rows


def _options(cls: type[Problem]) -> list[dict[str, Any]]:
    return [
        {"option": f.name, "default": f.default, "what": f.metadata.get("help", "")} for f in dataclasses.fields(cls)
    ]


def _words(values: Any) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _steps() -> dict[str, str]:
    """Return, by neuron, that its step has the scalar form from which kernels are compiled, or why it has none."""
    found = {}
    for row in _neurons():
        cls = getattr(tt, row["neuron"])
        parameters = inspect.signature(cls).parameters
        options: dict[str, Any] = {n: 10.0 for n in parameters if n.endswith("half_life")}
        options |= {n: v for n, v in {"neuron": tt.LIF(half_life=10), "shape": 1}.items() if n in parameters}
        program = cls(**options).lowered()
        found[row["neuron"]] = f"not lowered: {program.reason}" if isinstance(program, NotLowered) else "lowered"
    return found


def info(json_: options.Json = False) -> None:
    """Show versions, devices, and which kernels can run: what to add to a report of a problem."""
    extras = {name: importlib.util.find_spec(name) is not None for name in _EXTRAS}
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    facts: dict[str, Any] = {
        **versions(),
        "torch_threads": torch.get_num_threads(),
        "device": "cuda" if cuda else "cpu",
        "cuda_devices": cuda,
        "extras": extras,
        "backends": {name: why or "can run" for name, why in tt.available_backends().items()},
        "neurons": _steps(),
    }
    if json_:
        answer(facts)
        return
    table = Table(show_header=False)
    for name, value in facts.items():
        if name == "extras":
            value = ", ".join(f"{extra} {'yes' if there else 'no'}" for extra, there in extras.items())
        if name in ("backends", "neurons"):
            value = "; ".join(f"{key}: {why}" for key, why in value.items())
        table.add_row(name.replace("_", " "), ", ".join(value) or "none" if isinstance(value, list) else str(value))
    out().print(table)
