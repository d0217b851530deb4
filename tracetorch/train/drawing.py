"""Draw a run's figures and a comparison's figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tracetorch import plot
from tracetorch.train.compare import Compared
from tracetorch.train.reward.runner import RewardRunner
from tracetorch.train.runner import Runner
from tracetorch.train.tasks.seeds import derived_seed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PSYCHOMETRIC = {"clicks": ("click difference, (left - right) / all", "P(answers left)")}


def run_figures(trainer: Runner[Any], records: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Draw what a run has learned: raster, traces, learning curve and what else the task offers.

    Args:
        trainer: The run.
        records: Its log.

    Returns:
        Figures by name: ``raster``, ``traces``, ``learning_curve``, ``psychometric``, ``half_lives``, ``prequential``,
        those that there is something to draw for.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> import tracetorch as tt
        >>> result = tt.train.fit(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}))
        >>> "raster" in tt.train.run_figures(result.trainer, result.records)
        True
    """
    plot.require_matplotlib()
    task = trainer.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(task.seed, "figures"))
        arrays = trainer.arrays()
    trainer.net.train()
    title = f"{task.name}, {trainer.choice.text}, seed {task.seed}"
    figures: dict[str, Figure] = {}
    spikes = {
        _layer(name): values
        for name, values in arrays.items()
        if (name == "input" and _is_binary(values)) or name.startswith("spikes.")
    }
    if spikes:
        figures["raster"] = plot.raster(spikes, title=f"Spikes: {title}")
    curves = {_layer(name): values for name, values in arrays.items() if _is_curve(name, arrays)}
    if curves:
        figures["traces"] = plot.traces(curves, units=8, title=f"Over time: {title}")
    if isinstance(trainer, RewardRunner):
        figures |= _rewarded(trainer, records, arrays, title)
    elif any(record["kind"] in ("train", "eval") for record in records):
        figures["learning_curve"] = plot.learning_curve(records, metric=task.metric, title=f"Learning: {title}")
    if "psychometric" in arrays:
        x_label, y_label = _PSYCHOMETRIC.get(task.name, ("stimulus", "P(answer)"))
        figures["psychometric"] = plot.psychometric(
            arrays["psychometric"], x_label=x_label, y_label=y_label, title=title
        )
    lives = _half_lives(arrays)
    if lives:
        figures["half_lives"] = plot.half_lives(lives, title=f"Half-lives: {title}")
    if "prequential" in arrays:
        points = arrays["prequential"]
        series = {"running": (points[:, 0], points[:, 1])}
        figures["prequential"] = plot.curves({task.metric: series}, x_label="time step", title=f"Stream: {title}")
    return figures


def _rewarded(
    trainer: RewardRunner, records: Sequence[Mapping[str, Any]], arrays: Mapping[str, Tensor], title: str
) -> dict[str, Figure]:
    """Draw returns over the steps of the environment, and frames of the agent."""
    figures: dict[str, Figure] = {}
    panels: dict[str, dict[str, Any]] = {}
    names = {"train": "episodes of an iteration", "eval": "last 100 episodes"}
    for kind, name in names.items():
        chosen = [r for r in records if r["kind"] == kind and math.isfinite(r.get("return", math.nan))]
        if chosen:
            points = ([r["time_step"] for r in chosen], [r["return"] for r in chosen])
            panels.setdefault("return", {})[name] = points
    if panels:
        figures["learning_curve"] = plot.curves(panels, x_label="step of the environment", title=f"Learning: {title}")
    if "frames" in arrays:
        figures["frames"] = plot.frames(arrays["frames"], title=f"One episode: {title}")
    return figures


def save_figures(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write figures as PNG files.

    Args:
        figures: Figures by name.
        folder: Where to; it is made if missing.

    Returns:
        The paths.

    Example:
        >>> import pathlib, tempfile, tracetorch as tt
        >>> figure, axes = tt.plot.new_figure(1, size=(4, 3))
        >>> [path.name for path in tt.train.save_figures({"mine": figure}, pathlib.Path(tempfile.mkdtemp()))]
        ['mine.png']
    """
    return [plot.save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def comparison_figure(results: Sequence[Compared], *, metric: str, title: str | None = None) -> Figure:
    """Draw rules beside each other: learning curves, score, seconds, memory.

    Args:
        results: What `compare` gave.
        metric: The task's metric.
        title: Text above the figure.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> from tracetorch.train import Compared, comparison_figure
        >>> runs = [Compared(rule, 0, {"accuracy": 0.8}, 1.0, 300.0, 2.0, ([9], [0.8])) for rule in ("sltt", "trace")]
        >>> type(comparison_figure(runs, metric="accuracy")).__name__
        'Figure'
    """
    rules = list(dict.fromkeys(result.rule for result in results))
    by_rule = {rule: [result for result in results if result.rule == rule] for rule in rules}
    measures: dict[str, dict[str, Any]] = {
        metric: {rule: [run.scores[metric] for run in runs] for rule, runs in by_rule.items()},
        "seconds": {rule: [run.seconds for run in runs] for rule, runs in by_rule.items()},
        "peak memory (MB)": {rule: [run.peak_mb for run in runs] for rule, runs in by_rule.items()},
    }
    learning = {}
    for rule, runs in by_rule.items():
        length = min(len(run.curve[0]) for run in runs)
        if length > 1:
            learning[rule] = (runs[0].curve[0][:length], np.array([run.curve[1][:length] for run in runs]))
    return plot.comparison(measures, learning=learning, learning_label=f"{metric}, held out", title=title)


def _is_binary(values: Tensor) -> bool:
    """Return whether values are spikes, all 0 or 1, rather than currents."""
    return bool(((values == 0) | (values == 1)).all())


def _is_curve(name: str, arrays: Mapping[str, Tensor]) -> bool:
    """Return whether an array is drawn over time: input currents, membranes of spiking layers, the output."""
    if name == "input":
        return not _is_binary(arrays[name])
    return name == "output" or (name.startswith("membrane.") and f"spikes.{name.partition('.')[2]}" in arrays)


def _layer(name: str) -> str:
    """Return what a panel of a layer is called: ``"spikes.0"`` becomes ``"layer 0"``."""
    kind, _, layer = name.partition(".")
    return f"layer {layer}" if kind in ("spikes", "half_life") else f"{kind} {layer}".strip()


def _half_lives(arrays: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the half-lives before and after, by layer."""
    names = [n.removesuffix(".before") for n in arrays if n.startswith("half_life.") and n.endswith(".before")]
    return {_layer(n): (arrays[f"{n}.before"], arrays[f"{n}.after"]) for n in names}
