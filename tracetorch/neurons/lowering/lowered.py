"""The result of lowering a neuron's step: one list of assignments, and which of them are its outputs."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from torch import Tensor

from tracetorch.neurons.lowering.expressions import Input, Line, Value, inputs_of

Values: TypeAlias = tuple[Value, ...]


@dataclass(frozen=True)
class NotLowered:
    """Why a neuron's step has no scalar form, the operator or property in the way; it runs through `torch.func`."""

    reason: str


@dataclass(frozen=True, eq=False)
class Lowered:
    """List a neuron's step with all its derivatives as assignments between scalars.

    Args:
        states: S.
        counters: number of variables that are carried without a gradient.
        currents: number of input currents per unit.
        parameters: dotted names of the neuron's float parameters and buffers that the step reads.
        lines: the assignments; a line is named by its number.
        next_states: the states after the step, S.
        next_counters: the counters after the step.
        z: the output.
        A: derivatives of the next states with respect to the states, S rows of S.
        B: derivatives of the next states with respect to the current, S; a tuple of them for each of several currents.
        D: derivatives of the output with respect to the states, S.
        psi: derivative of the output with respect to the current; where there are several, a tuple of one for each.
        P: derivatives of the next states with respect to each parameter, S each.
        Q: derivatives of the output with respect to each parameter.
    """

    states: int
    counters: int
    currents: int
    parameters: tuple[str, ...]
    lines: tuple[Line, ...]
    next_states: Values
    next_counters: Values
    z: Value
    A: tuple[Values, ...]
    B: Any
    D: Values
    psi: Any
    P: tuple[Values, ...]
    Q: Values

    @cached_property
    def key(self) -> str:
        """A digest that differs between any two programs."""
        fields = [getattr(self, name) for name in self.__dataclass_fields__]
        return hashlib.sha256(repr(fields).encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Lowered) and self.key == other.key)

    def values(self, neuron: Any) -> list[Tensor]:
        """Return the present values of `parameters` in a neuron, `[*unit]` or one number each."""
        return [operator.attrgetter(name)(neuron) for name in self.parameters]

    def named_values(self, neuron: Any) -> list[tuple[str, Tensor]]:
        """Return names and present values of `parameters` in a neuron."""
        return list(zip(self.parameters, self.values(neuron), strict=True))

    def inputs(self, *outputs: Any) -> frozenset[Input]:
        """Return the inputs on which some outputs depend, for example `inputs(lowered.psi)`."""
        return inputs_of(self.lines, flat(outputs))

    def varies(self, *outputs: Any) -> bool:
        """Return whether some outputs depend on a state, counter or current, and so change from step to step."""
        return any(v.kind != "p" for v in self.inputs(*outputs))


def flat(outputs: Iterable[Any]) -> list[Value]:
    """Return the operands in nested tuples, in order."""
    found: list[Value] = []
    for v in outputs:
        if type(v) is tuple:
            found += flat(v)
        else:
            found.append(v)
    return found
