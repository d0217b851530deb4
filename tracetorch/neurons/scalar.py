"""A neuron's step on plain numbers: what it brings to the templates of kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tracetorch.neurons.surrogates import ATan, FastSigmoid, Sigmoid, StraightThrough, Surrogate, Triangle

SOURCE = Path(__file__).with_name("steps.py")
"""The file with the steps of the library's own neurons."""


@dataclass(frozen=True)
class Scalar:
    """Describe a neuron's step on numbers, for kernels that take it as a parameter.

    Args:
        step: name of the function in `source`; what it takes and gives is said in `tracetorch.neurons.steps`.
        states: S.
        parameters: names of the neuron's attributes that the step takes, in order; at most four.
        numbers: constants of the scalar type by name.
        flags: switches by name, decided when the step is compiled.
        names: functions of `source` that stand in for others, such as the surrogate.
        source: file with the functions.
    """

    step: str
    states: int
    parameters: tuple[str, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    source: Path = SOURCE

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        """What tells this step from any other."""
        parts = (sorted(self.numbers.items()), sorted(self.flags.items()), sorted(self.names.items()))
        return f"{self.source} {self.step} {self.states} {self.parameters} {parts}"


def scalar_surrogate(surrogate: Surrogate) -> tuple[str, dict[str, float]] | None:
    """Return the name of a surrogate's derivative in `steps` and its numbers, or None where it has none."""
    kind = type(surrogate)
    if kind is ATan:
        alpha = surrogate.scale  # type: ignore[attr-defined]
        return "atan", {"SCALE": alpha / 2, "WIDTH": math.pi / 2 * alpha}
    names = {FastSigmoid: "fast_sigmoid", Sigmoid: "sigmoid", Triangle: "triangle", StraightThrough: "straight_through"}
    if kind not in names:
        return None
    return names[kind], {"SCALE": getattr(surrogate, "scale", 1.0), "WIDTH": getattr(surrogate, "width", 1.0)}
