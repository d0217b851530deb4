"""End a run cleanly on Ctrl-C or a request to terminate."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from tracetorch.train.runner import Runner

if TYPE_CHECKING:
    from typing_extensions import Self

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))


class Interrupt:
    """Take SIGINT and SIGTERM while a run goes on.

    The first asks the trainer to stop after its iteration (an evaluation is broken off at once, which harms nothing);
    the second breaks off whatever goes on.

    Attributes:
        number: The signal that came; None for none.
    """

    def __init__(self, trainer: Runner[Any]) -> None:
        """Prepare; the signals are taken between ``__enter__`` and ``__exit__`` only.

        Args:
            trainer: The run to stop.
        """
        self.number: int | None = None
        self._trainer = trainer
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _take(self, number: int, frame: FrameType | None) -> None:
        again = self.number is not None
        self.number = number
        self._trainer.stop()
        if again or self._trainer.evaluating:
            raise KeyboardInterrupt
