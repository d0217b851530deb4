"""Read a learning rule from one word, as it is written on a command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import tracetorch as tt
from tracetorch.train.tasks.base import AnyProblem

_FEEDBACK = {
    "symmetric": tt.feedback.Symmetric,
    "random": tt.feedback.RandomFeedback,
    "signs": tt.feedback.SignSymmetric,
    "kolen-pollack": tt.feedback.KolenPollack,
}


@dataclass(frozen=True)
class Choice:
    """A learning rule, and the task options that its word stands for.

    Attributes:
        text: The word, for example ``"traced_bptt:4"``.
        rule: The rule.
        options: Task options that come with it: ``window``, ``frozen``.

    Example:
        >>> import tracetorch as tt
        >>> choice = tt.train.read_choice("traced_bptt:4")
        >>> choice.rule.name, choice.apply(tt.train.make("clicks")).window
        ('traced_bptt', 4)
    """

    text: str
    rule: tt.Rule
    options: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, task: AnyProblem) -> AnyProblem:
        """Return the task with the options set that the word stands for.

        Args:
            task: The task; it is left as it is.

        Returns:
            The task, or a variant of it; of a stream always a fresh one.

        Raises:
            ValueError: The task has no such option.
        """
        unknown = [name for name in self.options if name not in task.options()]
        if unknown:
            raise ValueError(
                f"rule {self.text!r} sets the option {unknown[0]!r}, which task {task.name!r} does not have: "
                "choose a rule without it"
            )
        # A stream keeps its answers, so each run has its own task; other tasks keep only their loaded data.
        return replace(task, **self.options) if self.options or task.is_stream else task


def read_choice(text: str) -> Choice:
    """Read a rule's word: a preset's name, then what is set in it, after colons.

    ``trace``; ``traced_bptt:4`` (windows of 4 time steps); ``drtrl:input=gain``; ``eprop:kappa=0.95:feedback=random``;
    ``frozen`` (``trace`` at the readout, every other layer left as it was drawn).

    Args:
        text: The word.

    Returns:
        The rule and the task options.

    Raises:
        ValueError: There is no such rule, or it cannot be set like this.

    Example:
        >>> read_choice("traced_bptt:4").options
        {'window': 4}
    """
    name, *settings = text.strip().split(":")
    presets: Mapping[str, Callable[..., tt.Rule]] = {**tt.rules.PRESETS, "frozen": tt.rules.trace}
    if name not in presets:
        raise ValueError(f"no rule {name!r}: choose one of {', '.join(presets)}")
    options: dict[str, Any] = {"frozen": True} if name == "frozen" else {}
    arguments: dict[str, Any] = {}
    known = inspect.signature(presets[name]).parameters
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            options["window"] = _read_window(text, setting)
        elif key in known:
            arguments[key] = _read_value(key, value)
        else:
            raise ValueError(f"rule {name!r} takes no {key!r}: it takes {', '.join(known) or 'nothing'}")
    try:
        return Choice(text.strip(), presets[name](**arguments), options)
    except TypeError as error:
        raise ValueError(f"rule {text!r} cannot be built: {error}") from error


def _read_window(text: str, setting: str) -> int:
    """Read the window's length, a positive whole number."""
    if not setting.isdigit() or int(setting) == 0:
        raise ValueError(
            f"rule {text!r}: {setting!r} is neither a window (a positive whole number of time steps) nor name=value"
        )
    return int(setting)


def _read_value(key: str, value: str) -> Any:
    """Read an argument of a rule: a feedback by name, true, false, none, a number, or text."""
    if key == "feedback":
        if value not in _FEEDBACK:
            raise ValueError(f"no feedback {value!r}: choose one of {', '.join(_FEEDBACK)}")
        return _FEEDBACK[value]()
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
