"""Name the tasks, and make one from the words of a command line."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracetorch.train.reward.control import Acrobot, CartPole, Pendulum
from tracetorch.train.reward.guess import ClicksReward, DigitsReward, MNISTReward
from tracetorch.train.reward.remember import Chain, Maze
from tracetorch.train.script import is_script, read_script
from tracetorch.train.tasks.adding import BinaryAdding
from tracetorch.train.tasks.base import Problem
from tracetorch.train.tasks.clicks import Clicks
from tracetorch.train.tasks.copying import Copy
from tracetorch.train.tasks.delayed_xor import DelayedXOR
from tracetorch.train.tasks.digits import Digits
from tracetorch.train.tasks.ecg import ECG
from tracetorch.train.tasks.evidence import Evidence
from tracetorch.train.tasks.har import HAR
from tracetorch.train.tasks.images import MNIST, FashionMNIST
from tracetorch.train.tasks.match import DelayedMatch
from tracetorch.train.tasks.pattern import Pattern
from tracetorch.train.tasks.permuted import PermutedDigits, PermutedMNIST
from tracetorch.train.tasks.randman import Randman
from tracetorch.train.tasks.speech import Speech
from tracetorch.train.tasks.store_recall import StoreRecall
from tracetorch.train.tasks.yin_yang import YinYang

_DRAWN: tuple[type[Problem], ...] = (Clicks, Evidence, StoreRecall, DelayedXOR, Copy, DelayedMatch, BinaryAdding)
_POINTS: tuple[type[Problem], ...] = (YinYang, Randman, Pattern)
_READ: tuple[type[Problem], ...] = (Digits, PermutedDigits, MNIST, FashionMNIST, PermutedMNIST, ECG, HAR, Speech)
_REWARDED: tuple[type[Problem], ...] = (CartPole, Acrobot, Pendulum, Chain, Maze)
_GUESSED: tuple[type[Problem], ...] = (ClicksReward, DigitsReward, MNISTReward)
TASKS: dict[str, type[Problem]] = {task.name: task for task in (*_DRAWN, *_POINTS, *_READ, *_REWARDED, *_GUESSED)}
"""Tasks by name: the classes that `make` and ``tracetorch train`` know."""

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


def find(word: str) -> type[Problem]:
    """Return the class of a task: a key of `TASKS`, or a script and the name of a class in it, ``my_task.py:Task``."""
    if not is_script(word):
        if word not in TASKS:
            raise ValueError(f"no task {word!r}: choose one of {', '.join(TASKS)}, or one of yours, my_task.py:Task")
        return TASKS[word]
    path, _, name = word.rpartition(":")
    found = read_script(path, name)[name]
    if not (isinstance(found, type) and issubclass(found, Problem)):
        raise ValueError(f"{name!r} of {path!r} is no subclass of tracetorch.train.Task, but {found!r}")
    if not isinstance(getattr(found, "name", None), str):
        raise ValueError(f"the task {name!r} of {path!r} needs a name: name: ClassVar[str] = 'my-task'")
    found.script = f"{Path(path).resolve()}:{name}"
    return found


def make(name: str, settings: Mapping[str, Any] | None = None, *, preset: str | None = None) -> Problem:
    """Make a task by name, with some of its options set.

    Args:
        name: A key of `TASKS`, or a class in a script, ``my_task.py:Task``.
        settings: Options by name; values that are strings are read as the option's type (``"none"`` for
            None).
        preset: A key of the task's ``presets``, applied before `settings`.

    Returns:
        The task.

    Raises:
        ValueError: The task, the preset or an option is unknown, or a value does not fit its option.

    Example:
        >>> make("clicks", {"hidden": "32", "frozen": "yes"}).options()["hidden"]
        32
    """
    cls = find(name)
    values: dict[str, Any] = {}
    if preset is not None:
        if preset not in cls.presets:
            known = ", ".join(cls.presets) or "none"
            raise ValueError(f"task {name!r} has no preset {preset!r}; it has: {known}")
        values.update(cls.presets[preset])
    kinds = typing.get_type_hints(cls)
    lacks = getattr(cls, "__abstractmethods__", ())
    if lacks:
        raise ValueError(f"task {name!r} does not define {', '.join(sorted(lacks))}")
    fields = {f.name for f in dataclasses.fields(cls)}
    for key, value in (settings or {}).items():
        if key not in fields:
            raise ValueError(f"task {name!r} has no option {key!r}: choose one of {', '.join(sorted(fields))}")
        values[key] = _read(key, value, kinds[key]) if isinstance(value, str) else value
    return cls(**values)


def _read(key: str, text: str, kind: Any) -> Any:
    """Read `text` as `kind`: int, float, bool, str, or one of these or None."""
    if type(None) in typing.get_args(kind):
        if text.lower() == "none":
            return None
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    if kind is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ValueError(f"option {key!r} is true or false, got {text!r}")
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"option {key!r} is of type {kind.__name__}, got {text!r}") from error
