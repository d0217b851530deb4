"""Events of a training run: plain frozen values, drawn by any listener."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """What happened after `iteration` finished iterations.

    Attributes:
        iteration: Number of finished training iterations.

    Example:
        >>> import tracetorch as tt
        >>> trainer = tt.train.Trainer(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}))
        >>> [event.iteration for event in trainer.events() if not isinstance(event, tt.train.Progressed)]
        [2, 2, 2, 2]
    """

    iteration: int


@dataclass(frozen=True)
class Progressed(Event):
    """One iteration is done.

    Attributes:
        time_steps: Time steps that the network has run in training so far.
        stats: This iteration's numbers, for example loss and accuracy.
        seconds: Seconds spent in training iterations so far, evaluation left out.

    Example:
        >>> import tracetorch as tt
        >>> trainer = tt.train.Trainer(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}))
        >>> [sorted(event.stats) for event in trainer.events() if isinstance(event, tt.train.Progressed)]
        [['accuracy', 'loss'], ['accuracy', 'loss']]
    """

    time_steps: int
    stats: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Logged(Event):
    """A record for the log: means since the record before.

    Attributes:
        record: Kind ``"train"``, iteration, time step, means of the stats, seconds, memory in MB.

    Example:
        >>> import tracetorch as tt
        >>> trainer = tt.train.Trainer(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}), log_every=1)
        >>> [event.record["iteration"] for event in trainer.events() if isinstance(event, tt.train.Logged)]
        [1, 2]
    """

    record: Mapping[str, Any]


@dataclass(frozen=True)
class Evaluating(Event):
    """An evaluation begins; nothing else comes before its `Evaluated`.

    Attributes:
        quick: Whether a part of the held-out data is used (a point of the learning curve).

    Example:
        >>> import tracetorch as tt
        >>> trainer = tt.train.Trainer(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}))
        >>> [event.quick for event in trainer.events() if isinstance(event, tt.train.Evaluating)]
        [False]
    """

    quick: bool


@dataclass(frozen=True)
class Evaluated(Event):
    """The scores on held-out data.

    Attributes:
        record: Kind ``"eval"`` (quick) or ``"test"`` (all held-out data), iteration, time step, the scores.

    Example:
        >>> import tracetorch as tt
        >>> trainer = tt.train.Trainer(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}))
        >>> [0 <= event.record["accuracy"] <= 1 for event in trainer.events() if isinstance(event, tt.train.Evaluated)]
        [True]
    """

    record: Mapping[str, Any]


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint was written.

    Attributes:
        path: The run's folder.

    Example:
        >>> import tempfile, tracetorch as tt
        >>> trainer = tt.train.Trainer(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}))
        >>> events = tt.train.recorded(trainer, tt.train.begin(trainer, tempfile.mkdtemp()))
        >>> any(isinstance(event, tt.train.Saved) for event in events)
        True
    """

    path: str


@dataclass(frozen=True)
class Finished(Event):
    """The run ended.

    Attributes:
        complete: Whether every iteration was done; False after a request to stop.

    Example:
        >>> import tracetorch as tt
        >>> trainer = tt.train.Trainer(tt.train.make("digits", {"steps": 2, "batch_size": 4, "hidden": 8}))
        >>> for event in trainer.events():
        ...     trainer.stop()
        >>> event.complete
        False
    """

    complete: bool
