"""A neuron's step on plain numbers: what it brings to the templates of kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tracetorch.neurons.lowering import Lowered, step_text
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
        text: source of the functions where they come from a lowered step; empty for those of the file.
    """

    step: str
    states: int
    parameters: tuple[str, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    source: Path = SOURCE
    text: str = ""

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        """What tells this step from any other."""
        parts = (sorted(self.numbers.items()), sorted(self.flags.items()), sorted(self.names.items()))
        return f"{self.source} {self.step} {self.states} {self.parameters} {parts} {self.text}"


STATES, PARAMETERS = 2, 4
"""Numbers of states and parameters that the kernels' templates know."""


def lowered_scalar(program: Lowered) -> Scalar | None:
    """Return a lowered step in the form of the kernels' templates; None for one that they do not know.

    Args:
        program: the lowered step.

    Returns:
        The step, or None where it has more states, counters, currents or parameters than they take.
    """
    sizes = (program.states, program.counters, program.currents, len(program.parameters))
    if not 1 <= sizes[0] <= STATES or sizes[1] > 1 or sizes[2] != 1 or sizes[3] > PARAMETERS:
        return None
    if any("." in name for name in program.parameters):
        return None
    counters, after = ("(c,)", "count[0]") if program.counters else ("()", "c")
    text = (
        f"{step_text(program, name='whole', learned=())}\n\ndef lowered(s, c, i, p):\n"
        f"    new, count, z, A, B, D, psi, _, _ = whole(s, {counters}, i, p)\n"
        f"    return new, {after}, z, A, B, D, psi\n"
    )
    return Scalar("lowered", program.states, program.parameters, text=text)


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
