"""Straight-line programs on scalars: constants folded, repeated expressions shared, dead assignments removed."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias


class Input(NamedTuple):
    """Name an input of a program: a state `s`, counter `c`, current `i` or parameter `p`, by its index."""

    kind: str
    index: int  # type: ignore[assignment]


class Ref(NamedTuple):
    """Name the result of a line by the line's number."""

    line: int


Value: TypeAlias = Input | Ref | float | bool
"""An operand: an input, the result of a line, or a literal."""


class Line(NamedTuple):
    """Assign the result of one operation to the line's number."""

    op: str
    args: tuple[Value, ...]


COMPARISONS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
FUNCTIONS = ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "abs", "floor", "pow")
"""Names that a backend has to define for scalar text, besides `F` (the scalar type) and `where`."""
_LOGIC = ("and", "or", "not")
_BOOLEAN = frozenset((*COMPARISONS, *_LOGIC))
_COMMUTATIVE = frozenset(("add", "mul", "eq", "ne", "and", "or"))

_EVALUATE: dict[str, Callable[..., Any]] = {
    **{op: getattr(operator, op) for op in (*COMPARISONS, "add", "sub", "mul", "neg")},
    **{op: getattr(math, op) for op in FUNCTIONS if op not in ("abs", "floor", "pow")},
    "div": operator.truediv,
    "abs": abs,
    "floor": lambda x: float(math.floor(x)),
    "pow": math.pow,
    "and": operator.and_,
    "or": operator.or_,
    "not": operator.not_,
    "where": lambda c, a, b: a if c else b,
}


def is_literal(value: Value) -> bool:
    """Return whether an operand is a number or a truth value known now."""
    return isinstance(value, float | bool)


class Program:
    """Collect the lines of a program, each simplified as it is added."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._known: dict[tuple[Any, ...], Ref] = {}

    def is_boolean(self, value: Value) -> bool:
        """Return whether an operand is a truth value."""
        return isinstance(value, bool) or (isinstance(value, Ref) and self.lines[value.line].op in _BOOLEAN)

    def number(self, value: Value) -> Value:
        """Return an operand as a number: one where a truth value holds, zero elsewhere."""
        return self.add("where", value, 1.0, 0.0) if self.is_boolean(value) else value

    def add(self, op: str, *args: Value) -> Value:
        """Return the result of an operation on operands; it takes a new line only where no simpler operand equals it.

        Every rewriting gives the same bits as the operation itself for finite operands, up to the sign of a zero.
        """
        if op not in _LOGIC and op != "where":
            args = tuple(self.number(a) for a in args)
        simpler = self._evaluated(op, args) if all(map(is_literal, args)) else self._rewritten(op, args)
        if simpler is not None:
            return simpler
        key = (op, *sorted(map(repr, args))) if op in _COMMUTATIVE else (op, *map(repr, args))
        if key not in self._known:
            self._known[key] = Ref(len(self.lines))
            self.lines.append(Line(op, args))
        return self._known[key]

    @staticmethod
    def _evaluated(op: str, args: tuple[Value, ...]) -> Value | None:
        try:
            result = _EVALUATE[op](*args)
        except (ZeroDivisionError, OverflowError, ValueError):
            return None
        return result if isinstance(result, bool) else float(result)

    def _negated(self, value: Value) -> Value | None:
        """Return `x` where an operand is `-x`."""
        line = self.lines[value.line] if isinstance(value, Ref) else None
        return line.args[0] if line is not None and line.op == "neg" else None

    def _rewritten(self, op: str, args: tuple[Value, ...]) -> Value | None:
        if op in ("add", "sub"):
            return self._sum(op, *args)
        if op in ("mul", "div"):
            return self._product(op, *args)
        if op == "neg":
            return self._negated(args[0])
        if op == "where":
            if isinstance(args[0], bool):
                return args[1] if args[0] else args[2]
            return args[1] if args[1] == args[2] and type(args[1]) is type(args[2]) else None
        if op in ("and", "or"):
            for one, other in (args, args[::-1]):
                if isinstance(one, bool):
                    return other if one is (op == "and") else one
        return None

    def _sum(self, op: str, a: Value, b: Value) -> Value | None:
        if b == 0.0:
            return a
        if a == 0.0:
            return b if op == "add" else self.add("neg", b)
        minus_b = self._negated(b)
        if minus_b is not None:
            return self.add("sub" if op == "add" else "add", a, minus_b)
        minus_a = self._negated(a)
        if minus_a is not None and op == "add":
            return self.add("sub", b, minus_a)
        return None

    def _product(self, op: str, a: Value, b: Value) -> Value | None:
        if a == 0.0 or (b == 0.0 and op == "mul"):
            return 0.0
        if b == 1.0:
            return a
        if a == 1.0 and op == "mul":
            return b
        if b == -1.0:
            return self.add("neg", a)
        if a == -1.0 and op == "mul":
            return self.add("neg", b)
        minus_a, minus_b = self._negated(a), self._negated(b)
        if minus_a is not None or minus_b is not None:
            result = self.add(op, a if minus_a is None else minus_a, b if minus_b is None else minus_b)
            return result if minus_a is not None and minus_b is not None else self.add("neg", result)
        return None


def needed(lines: Sequence[Line], outputs: Iterable[Value]) -> list[int]:
    """Return the numbers of the lines on which some operands depend, in order."""
    live: set[int] = set()
    waiting = [v for v in outputs if isinstance(v, Ref)]
    while waiting:
        number = waiting.pop().line
        if number not in live:
            live.add(number)
            waiting += [v for v in lines[number].args if isinstance(v, Ref)]
    return sorted(live)


def inputs_of(lines: Sequence[Line], outputs: Iterable[Value]) -> frozenset[Input]:
    """Return the inputs on which some operands depend."""
    outputs = list(outputs)
    operands = [v for number in needed(lines, outputs) for v in lines[number].args]
    return frozenset(v for v in (*outputs, *operands) if isinstance(v, Input))
