"""Source text of what kernels do with their units in one step: the neuron's step and what is linear around it.

Every entry of the blocks is written out, and one that is zero for this neuron is left out.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from tracetorch.neurons.lowering import Lowered, advance_text, step_text
from tracetorch.neurons.lowering.expressions import Value

Terms = list[tuple[str, str]]
"""Factors of a sum of products."""


def forward_text(lowered: Lowered, filters: int, *, traced: bool, single: bool) -> str:
    """Return the text of `advanced(v, i, p, k) -> (v, z, gain)`, which advances units by a step.

    Args:
        lowered: the neuron's step.
        filters: M, the number of states of the filter of sensitivities.
        traced: whether sensitivities are carried on; `v` has states, counters, sensitivities and filter states.
        single: whether values are of single precision.

    Returns:
        Source text in Triton's language.

    Example:
        >>> import tracetorch as tt
        >>> print(forward_text(tt.LI(half_life=1.0).lowered(), 0, traced=False, single=True))
        def advance(s, c, i, p):
            t0 = p[0] * s[0]
            t1 = t0 + i
            return ((t1,), (), t1)
        <BLANKLINE>
        def advanced(v, i, p, k):
            s, c, z = advance((v[0],), (), i, p)
            return ((full(s[0]),), z, z)
    """
    states, counters = lowered.states, lowered.counters
    saved = states + counters
    arguments = f"{_tuple(_entries('v', 0, states))}, {_tuple(_entries('v', states, counters))}, i, p"
    after = [*_entries("s", 0, states), *_entries("c", 0, counters)]
    if not traced:
        lines = [f"s, c, z = advance({arguments})", f"return {_tuple(_full(after))}, z, z"]
        return _language(advance_text(lowered), "advanced(v, i, p, k)", lines, single=single)
    x, level = _entries("v", saved, states), _entries("v", saved + states, filters)
    a, b, d, direct = _filter(filters)
    lines = [f"s, c, z, A, B, D, psi, P, Q = step({arguments})"]
    lines += [f"gain = {_sum(_row('D', lowered.D, x), 'psi')}"]
    after += [_sum(_row(f"A[{i}]", lowered.A[i], x), f"B[{i}]") for i in range(states)]
    after += [_sum([(a[i][j], level[j]) for j in range(filters)], f"{b[i]} * gain") for i in range(filters)]
    passed = _sum(list(zip(d, level, strict=True)), f"{direct} * gain") if filters else "gain"
    lines += [f"return {_tuple(_full(after))}, z, {passed}"]
    return _language(step_text(lowered, learned=()), "advanced(v, i, p, k)", lines, single=single)


def reverse_text(
    lowered: Lowered, filters: int, learned: Sequence[str], *, linked: bool, constant: bool, extra: bool, single: bool
) -> str:
    """Return the text of `credited(w, now, p, k) -> (w, q, psi L)`, which carries cotangents over a step back.

    Args:
        lowered: the neuron's step.
        filters: M, the number of states of the filter above the outputs.
        learned: the parameters whose gradients are summed, in the order of `lowered.parameters`.
        linked: whether cotangents go from step to step through the states.
        constant: whether blocks A and B are in `k`, behind the filter.
        extra: whether there are cotangents of the outputs that do not pass the filter.
        single: whether values are of single precision.

    Returns:
        Source text in Triton's language. `w` has the cotangents of states and of filter states, then the gradients;
        `now` has states, counters, current and cotangents of the outputs, behind the filter and before it.
    """
    states, saved = lowered.states, lowered.states + lowered.counters
    lam, level = _entries("w", 0, states), _entries("w", states, filters)
    a, b, d, direct = _filter(filters)
    arguments = f"{_tuple(_entries('now', 0, states))}, {_tuple(_entries('now', states, lowered.counters))}"
    lines = [f"s, c, z, A, B, D, psi, P, Q = step({arguments}, now[{saved}], p)"]
    lines += [f"signal = now[{saved + 1}]"]
    lines += [f"total = {_sum(list(zip(b, level, strict=True)), f'{direct} * signal') if filters else 'signal'}"]
    if extra:
        lines += [f"total = total + now[{saved + 2}]"]
    columns = [[(f"A[{i}][{j}]", lam[i]) for i in range(states) if not _zero(lowered.A[i][j])] for j in range(states)]
    through = _row("B", lowered.B, lam)
    if constant:
        at = filters * filters + 2 * filters + 1 if filters else 0
        columns = [[(f"k[{at + i * states + j}]", lam[i]) for i in range(states)] for j in range(states)]
        through = [(f"k[{at + states * states + i}]", lam[i]) for i in range(states)]
    after = lam
    if linked:
        after = [_sum(columns[j], "" if _zero(lowered.D[j]) else f"D[{j}] * total") for j in range(states)]
    after = after + [_sum([(a[i][j], level[i]) for i in range(filters)], f"{d[j]} * signal") for j in range(filters)]
    for i, name in enumerate(learned):
        row = lowered.parameters.index(name)
        terms = _row(f"P[{i}]", lowered.P[row], lam) if linked else []
        direct_term = "" if _zero(lowered.Q[row]) else f"Q[{i}] * total"
        after = [*after, f"w[{states + filters + i}] + ({_sum(terms, direct_term)})"]
    q = _sum(through if linked else [], "psi * total")
    lines += [f"return {_tuple(_full(after))}, {q}, psi * signal"]
    return _language(step_text(lowered, learned=tuple(learned)), "credited(w, now, p, k)", lines, single=single)


def _filter(m: int) -> tuple[list[list[str]], list[str], list[str], str]:
    """Return names of a filter's coefficients, which lie in `k` in this order: a by rows, b, d, p."""
    names = _entries("k", 0, m * m + 2 * m + 1)
    rows = [names[i * m : (i + 1) * m] for i in range(m)]
    return rows, names[m * m : m * m + m], names[m * m + m : m * m + 2 * m], names[-1]


def _entries(name: str, at: int, count: int) -> list[str]:
    return [f"{name}[{at + i}]" for i in range(count)]


def _full(values: Sequence[str]) -> list[str]:
    return [f"full({value})" for value in values]


def _tuple(entries: Sequence[str]) -> str:
    return "(" + " ".join(f"{entry}," for entry in entries) + ")"


def _zero(value: Value) -> bool:
    return isinstance(value, float) and value == 0.0


def _row(name: str, values: Sequence[Value], by: Sequence[str]) -> Terms:
    return [(f"{name}[{i}]", x) for i, (v, x) in enumerate(zip(values, by, strict=True)) if not _zero(v)]


def _sum(terms: Terms, direct: str) -> str:
    parts = [f"{x} * {y}" for x, y in terms] + ([direct] if direct else [])
    return " + ".join(parts) if parts else "F(0.0)"


def _language(step: str, head: str, lines: Sequence[str], *, single: bool) -> str:
    """Return a function behind the step that it calls, in Triton's language."""
    body = "".join(f"    {line}\n" for line in lines)
    tree = _Language(single=single).visit(ast.parse(f"{step}\n\ndef {head}:\n{body}"))
    return "\n\n".join(ast.unparse(ast.fix_missing_locations(f)) + "\n" for f in tree.body)


class _Language(ast.NodeTransformer):
    """Write numbers with their type, which the language takes for float32, and quotients that are rounded as torch's.

    Args:
        single: whether values are of single precision, in which the language's own quotients are less precise.
    """

    def __init__(self, *, single: bool) -> None:
        self.single = single

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name, args = ast.unparse(node.func), ", ".join(map(ast.unparse, node.args))
        text = {"F": f"tl.full((), {args}, F)", "where": f"tl.where({args})"}.get(name)
        return node if text is None else ast.parse(text, mode="eval").body

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div) or not self.single:
            return node
        return ast.parse(f"tl.div_rn({ast.unparse(node.left)}, {ast.unparse(node.right)})", mode="eval").body
