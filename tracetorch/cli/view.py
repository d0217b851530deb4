"""Show a run's progress: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tracetorch.cli.common import number
from tracetorch.train.events import Evaluated, Evaluating, Event, Progressed
from tracetorch.train.memory import resident_mb
from tracetorch.train.runner import Runner

if TYPE_CHECKING:
    from typing_extensions import Self

_PLAIN = ("kind", "iteration", "time_step", "seconds", "memory_mb")


class View(Protocol):
    """Say what the train command asks of a view."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Show an event."""


def make_view(trainer: Runner[Any], console: Console, *, quiet: bool = False) -> View:
    """Return the view that suits the console.

    Args:
        trainer: The run.
        console: Where to show it.
        quiet: Show nothing unless the console is a terminal.

    Returns:
        A context manager with ``show(event)``.
    """
    if console.is_terminal:
        return LiveView(trainer, console)
    return LineView(trainer, None if quiet else console)


class Speed:
    """Measure time steps per second of training, over the last seconds.

    Example:
        >>> speed = Speed()
        >>> speed.add(100, 1.0)
        >>> speed.add(300, 2.0)
        >>> speed.value
        200.0
    """

    def __init__(self) -> None:
        self._points: list[tuple[int, float]] = []

    def add(self, time_steps: int, seconds: float) -> None:
        """Add a point; those more than 5 s of training ago are dropped."""
        self._points.append((time_steps, seconds))
        while len(self._points) > 2 and seconds - self._points[1][1] > 5.0:
            self._points.pop(0)

    @property
    def value(self) -> float:
        """Return time steps per second; 0 before there are two points."""
        (first, began), (last, ended) = (self._points[0], self._points[-1]) if self._points else ((0, 0.0), (0, 0.0))
        return (last - first) / (ended - began) if ended > began else 0.0


class LiveView:
    """Draw a bar, and below it speed, loss, metric and memory, renewed a few times a second."""

    def __init__(self, trainer: Runner[Any], console: Console) -> None:
        """Prepare the drawing.

        Args:
            trainer: The run.
            console: A terminal.
        """
        self._trainer = trainer
        self._console = console
        self._speed = Speed()
        self._means: dict[str, float] = {}
        self._held_out = float("nan")
        self._drawn = 0.0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            expand=True,
        )
        name = f"{trainer.task.name} · {trainer.choice.text}"
        total = trainer.task.iterations
        self._bar = self._progress.add_task(name, total=total, completed=trainer.iteration)
        self._line = Text("  starting", style="dim", no_wrap=True, overflow="ellipsis")
        self._live = Live(Group(self._progress, self._line), console=console, refresh_per_second=5, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, event: Event) -> None:
        """Draw an event."""
        if isinstance(event, Progressed):
            self._speed.add(event.time_steps, event.seconds)
            for key, value in event.stats.items():
                self._means[key] = value if key not in self._means else 0.95 * self._means[key] + 0.05 * value
            if time.monotonic() - self._drawn > 0.15:
                self._draw(event.iteration)
        elif isinstance(event, Evaluating):
            self._draw(event.iteration, "  evaluating" if event.quick else "  evaluating in full")
        elif isinstance(event, Evaluated):
            self._held_out = float(event.record.get(self._trainer.task.metric, float("nan")))
            self._draw(event.iteration)
            if event.record["kind"] == "eval":
                self._console.print(evaluation_line(event, self._means.get("loss")), style="dim", no_wrap=True)

    def _draw(self, iteration: int, note: str = "") -> None:
        self._drawn = time.monotonic()
        self._progress.update(self._bar, completed=iteration)
        metric = self._trainer.task.metric
        parts = [f"{self._speed.value:,.0f} steps/s"] if self._speed.value else []
        parts += [f"{key} {self._means[key]:.4f}" for key in ("loss", metric) if key in self._means]
        if self._held_out == self._held_out:
            parts.append(f"held out {self._held_out:.4f}")
        parts.append(f"{resident_mb():,.0f} MB")
        self._line.plain = "  " + "  ·  ".join(parts) + note


class LineView:
    """Write one plain line per evaluation, for logs and pipes; nothing without a console."""

    def __init__(self, trainer: Runner[Any], console: Console | None) -> None:
        """Prepare the writing.

        Args:
            trainer: The run.
            console: Where to write; None for nowhere.
        """
        self._console = console
        self._scored_on = trainer.task.scored_on
        self._losses: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, event: Event) -> None:
        """Write a line where the event is an evaluation."""
        if isinstance(event, Progressed) and "loss" in event.stats:
            self._losses.append(event.stats["loss"])
        if isinstance(event, Evaluated) and self._console is not None:
            loss = sum(self._losses) / len(self._losses) if self._losses else None
            self._losses = []
            line = evaluation_line(event, loss, self._scored_on)
            self._console.print(line, soft_wrap=True, markup=False)


def evaluation_line(event: Evaluated, loss: float | None, scored_on: str = "all held-out data") -> str:
    """Return one line on an evaluation.

    Args:
        event: The evaluation.
        loss: The training loss of late; None for none.
        scored_on: What scores are of.

    Returns:
        The line.
    """
    record = event.record
    parts = [f"iteration {record['iteration']:>6}"]
    if loss is not None:
        parts.append(f"loss {loss:.4f}")
    parts += [f"{name} {number(value)}" for name, value in record.items() if name not in _PLAIN]
    parts.append(f"{record['seconds']:.1f} s")
    return "  ".join(parts) + (f"  ({scored_on})" if record["kind"] == "test" else "")
