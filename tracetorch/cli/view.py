"""Show a run's progress: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tracetorch.cli.common import number
from tracetorch.train.averages import Averages
from tracetorch.train.events import Evaluated, Evaluating, Event, Progressed
from tracetorch.train.memory import resident_mb
from tracetorch.train.runner import Runner

if TYPE_CHECKING:
    from typing_extensions import Self

_PLAIN = ("kind", "iteration", "time_step", "seconds", "memory_mb")


class _Bar(Progress):
    """A bar with a line of text below it."""

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        self.note = Text("  starting", style="dim", no_wrap=True, overflow="ellipsis")
        super().__init__(*columns, **options)

    def get_renderables(self) -> Iterator[RenderableType]:
        """Return the bar and the line."""
        yield self.make_tasks_table(self.tasks)
        yield self.note


class View:
    """Draw a bar with speed, loss, metric and memory on a terminal, and write one line per evaluation.

    Numbers are means since the last evaluation. With `quiet` nothing is shown unless the console is a terminal.
    """

    def __init__(self, trainer: Runner[Any], console: Console, *, quiet: bool = False) -> None:
        self._task, self._console = trainer.task, console
        self._lines = not quiet or console.is_terminal
        self._stats = Averages()
        self._held_out = math.nan
        self._drawn = 0.0
        self._began: tuple[int, float] | None = None
        self._bar = _Bar(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            expand=True,
            console=console,
            refresh_per_second=5,
            transient=True,
            disable=not console.is_terminal,
        )
        name = f"{trainer.task.name} · {trainer.choice.text}"
        self._row = self._bar.add_task(name, total=trainer.task.iterations, completed=trainer.iteration)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Progressed):
            self._stats.add(event.stats)
            now = (event.time_steps, event.seconds)
            self._began = self._began or now
            if not self._bar.disable and time.monotonic() - self._drawn > 0.15:
                self._draw(event.iteration, now)
        elif isinstance(event, Evaluating) and not self._bar.disable:
            self._draw(event.iteration, None, "evaluating" if event.quick else "evaluating in full")
        elif isinstance(event, Evaluated):
            self._held_out = float(event.record.get(self._task.metric, math.nan))
            loss = self._stats.take().get("loss")
            self._began = None
            if self._lines:
                line = evaluation_line(event, loss, self._task.scored_on)
                style = "dim" if self._console.is_terminal else ""
                self._console.print(line, soft_wrap=True, markup=False, style=style)

    def _draw(self, iteration: int, now: tuple[int, float] | None, doing: str = "") -> None:
        self._drawn = time.monotonic()
        parts = []
        if now is not None and self._began is not None and now[1] > self._began[1]:
            parts.append(f"{(now[0] - self._began[0]) / (now[1] - self._began[1]):,.0f} steps/s")
        means = self._stats.means()
        parts += [f"{key} {means[key]:.4f}" for key in ("loss", self._task.metric) if key in means]
        if not math.isnan(self._held_out):
            parts.append(f"held out {self._held_out:.4f}")
        parts.append(f"{resident_mb():,.0f} MB")
        self._bar.note.plain = "  " + "  ·  ".join(parts) + f"  {doing}"
        self._bar.update(self._row, completed=iteration)


def evaluation_line(event: Evaluated, loss: float | None, scored_on: str) -> str:
    """Return one line on an evaluation, with the mean training loss since the last one where there is one."""
    record = event.record
    parts = [f"iteration {record['iteration']:>6}"]
    if loss is not None:
        parts.append(f"loss {loss:.4f}")
    parts += [f"{name} {number(value)}" for name, value in record.items() if name not in _PLAIN]
    parts.append(f"{record['seconds']:.1f} s")
    return "  ".join(parts) + (f"  ({scored_on})" if record["kind"] == "test" else "")
