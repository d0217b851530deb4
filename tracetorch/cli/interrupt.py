"""End a run cleanly on Ctrl-C or a request to terminate."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from tracetorch.train.runner import Runner

if TYPE_CHECKING:
    from typing_extensions import Self

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupt:
    """Take SIGINT, SIGTERM and SIGHUP while a run goes on; SIGHUP not where it is ignored, as under ``nohup``.

    The first asks the trainer to stop after its iteration (an evaluation is broken off at once, which harms nothing);
    the second breaks off an iteration too, never what is being written.

    Attributes:
        number: The signal that came; None for none.
    """

    def __init__(self, trainer: Runner[Any]) -> None:
        """Prepare; the signals are taken between ``__enter__`` and ``__exit__`` only."""
        self.number: int | None = None
        self._trainer = trainer
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for name in _NAMES:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and not (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def hung_up(self) -> Iterator[None]:
        """Pass over what cannot be shown once a signal has come: the terminal may be gone."""
        try:
            yield
        except OSError:
            if self.number is None:
                raise

    def _take(self, number: int, frame: FrameType | None) -> None:
        again = self.number is not None
        self.number = number
        self._trainer.stop()
        # Between iterations a record may be on its way to the log, which a break would lose; the run ends there anyway.
        # Several processes end together: none breaks off an evaluation alone.
        alone = self._trainer.fabric.world_size == 1
        if (alone and self._trainer.evaluating) or (again and not self._trainer.consistent):
            raise KeyboardInterrupt
