"""Write a lowered step as text: scalar functions for kernel compilers, and one function of tensors for torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import torch

from tracetorch.neurons.blocks import Blocks
from tracetorch.neurons.lowering.expressions import (
    ARITHMETIC,
    COMPARISONS,
    FUNCTIONS,
    Input,
    Line,
    Ref,
    Value,
    needed,
)
from tracetorch.neurons.lowering.lowered import Lowered, flat

Function: TypeAlias = Callable[..., Any]


def step_text(lowered: Lowered, *, learned: Sequence[str] | None = None) -> str:
    """Return the text of a scalar step with its derivatives, for Python, NumPy, Numba and Triton: it is free of types.

    The function is `step(s, c, i, p) -> (s_next, c_next, z, A, B, D, psi, P, Q)`: tuples of the states, the counters
    and the parameters, and the current (a tuple where there are several). Lines keep the order of torch's operations,
    so that states and spikes are the same bits. Who executes the text defines `F`, the scalar type, `where(c, a, b)`,
    and the functions that `functions_of` names.

    Args:
        lowered: the step.
        learned: the parameters that P and Q are given for; all by default.

    Returns:
        Source of one function.

    Example:
        >>> import tracetorch as tt
        >>> from tracetorch.neurons.lowering import advance_text
        >>> print(advance_text(tt.LI(half_life=1.0).lowered()))
        def advance(s, c, i, p):
            t0 = p[0] * s[0]
            t1 = t0 + i
            return ((t1,), (), t1)
        <BLANKLINE>
    """
    chosen = lowered.parameters if learned is None else tuple(learned)
    rows = [lowered.parameters.index(n) for n in chosen if n in lowered.parameters]
    blocks = (lowered.A, lowered.B, lowered.D, lowered.psi)
    by_parameter = (tuple(lowered.P[k] for k in rows), tuple(lowered.Q[k] for k in rows))
    return _scalar_text(lowered, "step", (*_values(lowered), *blocks, *by_parameter))


def advance_text(lowered: Lowered) -> str:
    """Return the text of a scalar step without derivatives, `(s, c, i, p) -> (s_next, c_next, z)`; see `step_text`."""
    return _scalar_text(lowered, "advance", _values(lowered))


def functions_of(lowered: Lowered) -> frozenset[str]:
    """Return the functions that a step's text calls, besides `F` and `where`."""
    return frozenset(line.op for line in lowered.lines if line.op in FUNCTIONS)


def _values(lowered: Lowered) -> tuple[Any, ...]:
    return lowered.next_states, lowered.next_counters, lowered.z


def _scalar_text(lowered: Lowered, name: str, outputs: tuple[Any, ...]) -> str:
    def operand(value: Value) -> str:
        if isinstance(value, float):
            return "F(1e999)" if value == float("inf") else f"F({value!r})"
        return _name(value, lowered.currents)

    def line_text(line: Line) -> str:
        args = [operand(a) for a in line.args]
        return f"{args[0]} == False" if line.op == "not" else _expression(line.op, args)

    body = [f"    t{k} = {line_text(lowered.lines[k])}\n" for k in needed(lowered.lines, flat(outputs))]
    return f"def {name}(s, c, i, p):\n{''.join(body)}    return {_nested(outputs, operand)}\n"


def _name(value: Value, currents: int) -> str:
    if isinstance(value, Ref):
        return f"t{value.line}"
    if isinstance(value, Input):
        return "i" if value.kind == "i" and currents == 1 else f"{value.kind}[{value.index}]"
    return repr(value)


def _expression(op: str, args: Sequence[str]) -> str:
    sign = ARITHMETIC.get(op) or COMPARISONS.get(op) or {"and": "&", "or": "|"}.get(op)
    if sign is not None:
        return f"{args[0]} {sign} {args[1]}"
    return f"-{args[0]}" if op == "neg" else f"{op}({', '.join(args)})"


def _nested(outputs: Any, operand: Callable[[Value], str]) -> str:
    if type(outputs) is not tuple:
        return operand(outputs)
    parts = [_nested(v, operand) for v in outputs]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


_TORCH = {f: getattr(torch, f) for f in FUNCTIONS} | {"where": torch.where, "stack": torch.stack, "Blocks": Blocks}


@lru_cache(maxsize=256)
def tensor_blocks(lowered: Lowered, learned: tuple[str, ...]) -> Function:
    """Return the Jacobian blocks of a step as a function of tensors, with P and Q by the parameters `learned`.

    It is `(s, c, i, p) -> Blocks` of the states, counters, current or currents and the values of `lowered.parameters`,
    which broadcast to `[T, B, *unit]`; an entry that does not vary is of lower rank.
    """
    rows = {n: lowered.parameters.index(n) for n in learned if n in lowered.parameters}
    p = {n: lowered.P[k] for n, k in rows.items()}
    q = {n: lowered.Q[k] for n, k in rows.items()}
    outputs = (lowered.A, lowered.B, lowered.D, lowered.psi, tuple(p.values()), tuple(q.values()))
    lines = [f"    t{k} = {_tensor_line(lowered, lowered.lines[k])}\n" for k in needed(lowered.lines, flat(outputs))]

    def entry(value: Value) -> str:
        if isinstance(value, float):
            return "None" if value == 0 else f"like.new_full((), {_literal(value)})"
        return _name(value, lowered.currents)

    def row(values: Sequence[Value]) -> str:
        return f"[{', '.join(map(entry, values))}]"

    def by_current(values: Sequence[Value]) -> str:
        """Stack what belongs to each current behind time and batch, as the currents themselves are."""
        if all(v == 0.0 for v in values):
            return "None"
        terms = ["like.new_zeros(())" if v == 0.0 else entry(v) for v in values]
        return f"stack([{', '.join(f'{t}.expand(like.shape)' for t in terms)}], 2)"

    zeros = {n: "None" for n in learned if n not in rows}
    several = lowered.currents > 1
    b = f"[{', '.join(map(by_current, zip(*lowered.B, strict=True)))}]" if several else row(lowered.B)
    fields = {
        "A": f"[{', '.join(map(row, lowered.A))}]",
        "B": b,
        "D": row(lowered.D),
        "psi": by_current(lowered.psi) if several else entry(lowered.psi),
        "P": _table({n: row(v) for n, v in p.items()} | dict.fromkeys(zeros, f"[None] * {lowered.states}")),
        "Q": _table({n: entry(v) for n, v in q.items()} | zeros),
    }
    like = "i[0]" if several else "i"
    text = f"def blocks(s, c, i, p):\n    like = {like}\n{''.join(lines)}"
    text += f"    return Blocks({', '.join(f'{k}={v}' for k, v in fields.items())})\n"
    return _executed(lowered, "blocks", text)


@lru_cache(maxsize=256)
def tensor_constant(lowered: Lowered) -> Function:
    """Return A and B of a step of one current in which they depend on parameters alone, as a function of tensors.

    It is `(p, like) -> (A, B)`, of the values that A and B depend on, in the order of `lowered.parameters` and of one
    element each, and of a tensor whose dtype and device literals have; A is `[S, S]`, B `[S]`.
    """
    rows = (lowered.A, lowered.B)
    used = sorted(v.index for v in lowered.inputs(rows))
    lines = [f"    t{k} = {_tensor_line(lowered, lowered.lines[k])}\n" for k in needed(lowered.lines, flat(rows))]

    def stacked(values: Sequence[Value]) -> str:
        entries = (
            f"like.new_full((), {_literal(v)})" if isinstance(v, float) else f"{_name(v, lowered.currents)}.reshape(())"
            for v in values
        )
        return f"stack([{', '.join(entries)}])"

    size = lowered.states
    text = f"def constant(p, like):\n    p = dict(zip({used}, p))\n{''.join(lines)}"
    text += f"    return {stacked(flat(lowered.A))}.reshape({size}, {size}), {stacked(flat(lowered.B))}\n"
    return _executed(lowered, "constant", text)


def _executed(lowered: Lowered, name: str, text: str) -> Function:
    names: dict[str, Any] = dict(_TORCH)
    exec(compile(text, f"<{name} of a lowered step {lowered.key[:12]}>", "exec"), names)
    return names[name]  # type: ignore[no-any-return]


def _table(entries: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{n!r}: {v}' for n, v in entries.items())}}}"


def _literal(value: float) -> str:
    return "float('inf')" if value == float("inf") else repr(value)


def _tensor_line(lowered: Lowered, line: Line) -> str:
    args = [_literal(a) if isinstance(a, float) else _name(a, lowered.currents) for a in line.args]
    if line.op == "not":
        return f"~{args[0]}"
    if line.op == "where" and all(isinstance(a, float) for a in line.args[1:]):
        if line.args[1:] == (1.0, 0.0):
            return f"{args[0]}.to(like.dtype)"
        args[1] = f"like.new_full((), {args[1]})"  # torch takes two bare numbers for float32
    if line.op == "pow" and isinstance(line.args[0], float):
        args[0] = f"like.new_full((), {args[0]})"
    return _expression(line.op, args)
