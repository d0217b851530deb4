"""What options can be: numbers with bounds, which every task's options are checked against."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from tracetorch.train.schema import Count as Count  # for the tasks, as `Positive` is
from tracetorch.train.schema import Positive as Positive
from tracetorch.train.schema import Range


@dataclass(frozen=True, init=False)
class OneOf:
    """Words to choose from, as the second argument of ``Annotated``."""

    words: tuple[str, ...]

    def __init__(self, *words: str) -> None:
        """Store the words."""
        object.__setattr__(self, "words", words)

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"

    def holds(self, value: str) -> bool:
        """Return whether a word is one of them."""
        return value in self.words


MOST = 2**24
Size = Annotated[int, Range(1, MOST)]
"""A number of units, rows, steps or channels."""
Pair = Annotated[int, Range(2, MOST)]
"""A number of things to distinguish."""
Probability = Annotated[float, Range(0.0, 1.0)]
Rate = Annotated[float, Range(0.0, 1e6)]
"""A learning rate, weight, factor or duration; 0 is one."""
Span = Annotated[float, Range(1e-6, 1e9)]
"""A half-life, time constant or duration above 0."""
Fold = Annotated[int, Range(0, 4)]
Coding = Annotated[str, OneOf("rate", "rows")]


@cache
def kinds_of(cls: type) -> dict[str, Any]:
    """Return what each annotated name of a class can be, as `tracetorch.train.schema.check` takes it.

    A class that declares a name again without bounds has those of the class above.
    """
    above = [typing.get_type_hints(base, include_extras=True) for base in cls.__mro__]
    return {
        name: next((hints[name] for hints in above if name in hints and _bounded(hints[name])), kind)
        for name, kind in above[0].items()
    }


def _bounded(kind: Any) -> bool:
    """Return whether a kind is narrower than a class."""
    return typing.get_origin(kind) is Annotated or any(_bounded(arg) for arg in typing.get_args(kind))
