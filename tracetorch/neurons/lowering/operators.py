"""Operators of torch on one element, as scalar expressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch

from tracetorch.neurons.lowering.expressions import COMPARISONS, Program, Value

Operator: TypeAlias = Callable[..., Value]


class UnsupportedError(Exception):
    """Report an operator or a property of a step that has no scalar form."""


def _scaled(b: Program, x: Value, alpha: float) -> Value:
    return x if alpha == 1 else b.add("mul", x, float(alpha))


def _div(b: Program, x: Value, y: Value, *, rounding_mode: str | None = None) -> Value:
    if rounding_mode not in (None, "floor"):
        raise UnsupportedError(f"aten.div with rounding_mode={rounding_mode!r}")
    quotient = b.add("div", x, y)
    return quotient if rounding_mode is None else b.add("floor", quotient)


def _pow(b: Program, x: Value, y: Value) -> Value:
    """Raise to a power as torch does: by products, roots and reciprocals for small exponents."""
    if isinstance(y, float) and y == 0:
        return 1.0
    if isinstance(y, float) and abs(y) in (0.5, 1.0, 2.0, 3.0) and y != -3.0:
        size = abs(y)
        power = b.add("sqrt", x) if size == 0.5 else x
        for _ in range(int(size) - 1):
            power = b.add("mul", power, x)
        return power if y > 0 else b.add("div", 1.0, power)
    return b.add("pow", x, y)


def _sigmoid(b: Program, x: Value) -> Value:
    return b.add("div", 1.0, b.add("add", 1.0, b.add("exp", b.add("neg", x))))


def _least(b: Program, x: Value, bound: Value | None) -> Value:
    return x if bound is None else b.add("where", b.add("lt", x, bound), b.number(bound), b.number(x))


def _most(b: Program, x: Value, bound: Value | None) -> Value:
    return x if bound is None else b.add("where", b.add("gt", x, bound), b.number(bound), b.number(x))


def _clamp(b: Program, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    return _most(b, _least(b, x, low), high)


def _extreme(order: str) -> Operator:
    def extreme(b: Program, x: Value, y: Value) -> Value:
        x, y = b.number(x), b.number(y)
        return b.add("where", b.add("ne", y, y), y, b.add("where", b.add(order, x, y), y, x))

    return extreme


def _sign(b: Program, x: Value) -> Value:
    return b.add("where", b.add("gt", x, 0.0), 1.0, b.add("where", b.add("lt", x, 0.0), -1.0, 0.0))


def _where(b: Program, condition: Value, x: Value, y: Value) -> Value:
    if b.is_boolean(x) and b.is_boolean(y):
        return _where(b, condition, b.number(x), b.number(y))
    return b.add("where", condition, b.number(x), b.number(y))


def _logical(op: str) -> Operator:
    def logical(b: Program, *args: Value) -> Value:
        return b.add(op, *(a if b.is_boolean(a) else b.add("ne", a, 0.0) for a in args))

    return logical


def _bitwise(op: str) -> Operator:
    def bitwise(b: Program, *args: Value) -> Value:
        if not all(map(b.is_boolean, args)):
            raise UnsupportedError(f"aten.bitwise_{op} on integers")
        return b.add(op, *args)

    return bitwise


def _copy(b: Program, x: Value, *, dtype: torch.dtype | None = None, **_: Any) -> Value:
    if dtype is torch.bool:
        return x if b.is_boolean(x) else b.add("ne", x, 0.0)
    if dtype not in (None, torch.float64):
        raise UnsupportedError(f"a conversion to {dtype}; write .to(x.dtype) with x a state or the current")
    return b.number(x) if dtype is torch.float64 else x


def _full(fill: Callable[..., Any]) -> Operator:
    def full(b: Program, *args: Any, dtype: torch.dtype | None = None, **_: Any) -> Value:
        if dtype is not None and not dtype.is_floating_point and dtype is not torch.bool:
            raise UnsupportedError(f"a constant of {dtype}")
        value = fill(*args)
        return bool(value) if dtype is torch.bool else value if isinstance(value, float | bool) else float(value)

    return full


def _plain(op: str) -> Operator:
    return lambda b, *args: b.add(op, *args)


_ONE, _ZERO = _full(lambda *_: 1.0), _full(lambda *_: 0.0)
_PLAIN = ("neg", "abs", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "floor", "mul")

OPERATORS: Mapping[str, Operator] = {
    **{op: _plain(op) for op in (*_PLAIN, *COMPARISONS)},
    **dict.fromkeys(("detach", "clone", "alias", "lift_fresh", "expand"), lambda b, x, *_, **__: x),
    **dict.fromkeys(("ones_like", "ones", "new_ones"), _ONE),
    **dict.fromkeys(("zeros_like", "zeros", "new_zeros", "_efficientzerotensor"), _ZERO),
    **dict.fromkeys(("full_like", "full"), _full(lambda _, value: value)),
    "new_full": _full(lambda _, __, value: value),
    "scalar_tensor": _full(lambda value: value),
    "_to_copy": _copy,
    "add": lambda b, x, y, *, alpha=1: b.add("add", x, _scaled(b, y, alpha)),
    "sub": lambda b, x, y, *, alpha=1: b.add("sub", x, _scaled(b, y, alpha)),
    "rsub": lambda b, x, y, *, alpha=1: b.add("sub", y, _scaled(b, x, alpha)),
    "div": _div,
    "reciprocal": lambda b, x: b.add("div", 1.0, x),
    "rsqrt": lambda b, x: b.add("div", 1.0, b.add("sqrt", x)),
    "pow": _pow,
    "square": lambda b, x: b.add("mul", x, x),
    "exp2": lambda b, x: b.add("pow", 2.0, x),
    "log2": lambda b, x: b.add("div", b.add("log", x), math.log(2)),
    "sigmoid": _sigmoid,
    "sigmoid_backward": lambda b, g, y: b.add("mul", b.add("mul", g, b.add("sub", 1.0, y)), y),
    "tanh_backward": lambda b, g, y: b.add("mul", g, b.add("sub", 1.0, b.add("mul", y, y))),
    "relu": lambda b, x: _least(b, x, 0.0),
    "threshold_backward": lambda b, g, x, t: b.add("where", b.add("le", x, t), 0.0, g),
    "clamp": _clamp,
    "clamp_min": _least,
    "clamp_max": _most,
    "maximum": _extreme("lt"),
    "minimum": _extreme("gt"),
    "sign": _sign,
    "sgn": _sign,
    "heaviside": lambda b, x, y: b.add("where", b.add("eq", x, 0.0), y, b.number(b.add("gt", x, 0.0))),
    "where": _where,
    "masked_fill": lambda b, x, mask, value: b.add("where", mask, b.number(value), x),
    "logical_and": _logical("and"),
    "logical_or": _logical("or"),
    "logical_not": _logical("not"),
    "bitwise_and": _bitwise("and"),
    "bitwise_or": _bitwise("or"),
    "bitwise_not": _bitwise("not"),
    "addcmul": lambda b, x, y, z, *, value=1: b.add("add", x, _scaled(b, b.add("mul", y, z), value)),
}
"""What each operator does to scalars, by its name without the overload."""
