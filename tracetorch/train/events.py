"""What a training run tells while it goes on: plain frozen values, drawn by whoever listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """Say that something happened after `iteration` finished iterations.

    Attributes:
        iteration: Number of finished training iterations.
    """

    iteration: int


@dataclass(frozen=True)
class Progressed(Event):
    """Say that one iteration is done.

    Attributes:
        time_steps: Time steps that the network has run in training so far.
        stats: This iteration's numbers, for example loss and accuracy.
        seconds: Seconds spent in training iterations so far, evaluation left out.
    """

    time_steps: int
    stats: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Logged(Event):
    """Hand over a record for the log: means since the record before.

    Attributes:
        record: Kind ``"train"``, iteration, time step, means of the stats, seconds, memory in MB.
    """

    record: Mapping[str, Any]


@dataclass(frozen=True)
class Evaluating(Event):
    """Say that an evaluation begins; nothing else comes before its `Evaluated`.

    Attributes:
        quick: Whether a part of the held-out data is used (a point of the learning curve).
    """

    quick: bool


@dataclass(frozen=True)
class Evaluated(Event):
    """Hand over the scores on held-out data.

    Attributes:
        record: Kind ``"eval"`` (quick) or ``"test"`` (all held-out data), iteration, time step, the scores.
    """

    record: Mapping[str, Any]


@dataclass(frozen=True)
class Saved(Event):
    """Say that a checkpoint was written.

    Attributes:
        path: The run's folder.
    """

    path: str


@dataclass(frozen=True)
class Finished(Event):
    """Say that the run ended.

    Attributes:
        complete: Whether every iteration was done; False after a request to stop.
    """

    complete: bool
