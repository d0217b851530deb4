"""Source text of a neuron's part of the step program."""

from __future__ import annotations

from collections.abc import Iterable

from tracetorch.backends.numba.steps.layout import CHECKED, CURRENT, OUT, PSI, Sizes


def stepped_text(sizes: Sizes, width: int) -> str:
    """Return the text of `stepped(w)`, which steps the block of units that begins at an address `w`.

    Args:
        sizes: the rows of a block.
        width: U, the number of units in a row.

    Returns:
        Python source text.

    Example:
        >>> print(stepped_text(Sizes(1, 0, 0, 0, 0), 64))
        @jit
        def stepped(w) -> None:
            for j in range(64):
                i = load(w, 0 + j)
                s, c, out, A, B, D, psi, P, Q = step((load(w, 448 + j),), (), i, ())
                store(w, 64 + j, out)
                store(w, 192 + j, psi)
                store(w, 256 + j, B[0])
                store(w, 320 + j, D[0])
                store(w, 384 + j, A[0][0])
                store(w, 512 + j, s[0])
                store(w, 128 + j, (i + s[0]) * F(0))
    """
    at, size, learned = sizes.places(), sizes.states, sizes.learned

    def place(row: int) -> str:
        return f"w, {row * width} + j"

    def loads(name: str, count: int) -> str:
        return "(" + " ".join(f"load({place(at[name] + i)})," for i in range(count)) + ")"

    def stores(row: int, values: Iterable[str]) -> list[str]:
        return [f"store({place(row + i)}, {value})" for i, value in enumerate(values)]

    carried = f"{loads('state', size)}, {loads('count', sizes.counters)}"
    lines = [
        f"i = load({place(CURRENT)})",
        f"s, c, out, A, B, D, psi, P, Q = step({carried}, i, {loads('param', sizes.parameters)})",
        *stores(OUT, ["out"]),
        *stores(PSI, ["psi", *(f"Q[{k}]" for k in range(learned))]),
        *stores(at["b"], [f"B[{i}]" for i in range(size)]),
        *stores(at["b"] + size, [f"P[{k}][{i}]" for k in range(learned) for i in range(size)]),
        *stores(at["d"], [f"D[{i}]" for i in range(size)]),
        *stores(at["a"], [f"A[{i}][{k}]" for i in range(size) for k in range(size)]),
        *stores(at["state_next"], [f"s[{i}]" for i in range(size)]),
        *stores(at["count_next"], [f"c[{i}]" for i in range(sizes.counters)]),
        *stores(CHECKED, [f"({' + '.join(['i', *(f's[{i}]' for i in range(size))])}) * F(0)"]),
    ]
    body = "".join(f"        {line}\n" for line in lines)
    return f"@jit\ndef stepped(w) -> None:\n    for j in range({width}):\n{body}"
