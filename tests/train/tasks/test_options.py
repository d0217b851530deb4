"""Every option of every task has a kind and bounds, and a bad value is refused with its name."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import pytest

from tracetorch.train.tasks import TASKS, make
from tracetorch.train.tasks.digits import Digits
from tracetorch.train.tasks.kinds import kinds_of

FREE = {"seed", "record", "data"}
"""Any whole number, one of the file's, any path."""


@pytest.mark.parametrize("name", TASKS)
def test_bad_values_are_refused_by_name(name: str) -> None:
    for field in dataclasses.fields(TASKS[name]):
        default = field.default
        bad: list[Any] = [object(), [1]]
        if isinstance(default, (int, float)) and not isinstance(default, bool):
            bad += [True, "1"] + ([] if field.name in FREE else [-(2**60), 2**60, math.nan, math.inf])
        elif isinstance(default, bool):
            bad += [0, "yes"]
        elif field.name not in FREE and default is not None:
            bad += ["nope"]
        for value in bad:
            with pytest.raises(ValueError, match=f"option '{field.name}' of task '{name}': expected"):
                TASKS[name](**{field.name: value})


def test_bounds_are_part_of_the_message() -> None:
    for settings, message in [
        ({"hidden": "0"}, "option 'hidden' of task 'digits': expected 1 to 1.67772e\\+07, got 0"),
        ({"coding": "x"}, "option 'coding' of task 'digits': expected one of rate, rows, got 'x'"),
        ({"window": "0"}, "option 'window' of task 'digits': expected 1 to"),
        ({"warmup": "1.5"}, "option 'warmup' of task 'digits': expected 0 to 1, got 1.5"),
        ({"lr": "nan"}, "option 'lr' of task 'digits': expected 0 to 1e\\+06, got nan"),
    ]:
        with pytest.raises(ValueError, match=message):
            make("digits", settings)
    assert make("digits", {"window": "none"}).options()["window"] is None


@dataclass(frozen=True, kw_only=True, eq=False)
class Plain(Digits):
    """Declares options without bounds, and its own check."""

    hidden: int = 8
    mine: float = 1.0

    def __post_init__(self) -> None:
        """Check nothing."""


def test_a_plain_option_has_the_bounds_of_the_class_above() -> None:
    assert kinds_of(Plain)["hidden"] == kinds_of(Digits)["hidden"]
    with pytest.raises(ValueError, match="option 'hidden' of task 'digits': expected 1 to"):
        Plain(hidden=0).check_options()
    with pytest.raises(ValueError, match="option 'mine' of task 'digits': expected a finite number, got inf"):
        Plain(mine=math.inf).check_options()
