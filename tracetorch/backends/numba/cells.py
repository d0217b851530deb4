"""Source text of what kernels do with a block of units: advance it by a step, carry its cotangents over a step back.

Compilers unroll tuples only where their entries are spelled out, and each function that a kernel calls takes its own
time to compile. So these few functions are written out for each neuron, every entry by its place in the work space.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Numbers of rows that a block of units has in the work space, and where they begin.

    There are S states, C counters, P parameters, M states of the filter, and gradients of some parameters; a row has U
    units, its width, and a neuron one or more currents per unit.
    """

    states: int
    counters: int
    parameters: int
    filters: int
    gradients: int
    width: int
    currents: int = 1

    def places(self) -> dict[str, int]:
        """Return where each kind of row begins, in order; the last entry is the size of a block.

        The first three kinds have their own use in each kernel. Sensitivities of the states, one for each current,
        lie where the reverse pass has the states' cotangents.
        """
        s, c, m, each = self.states, self.counters, self.filters, self.currents
        counts = {"FIRST": 1, "SECOND": 1, "THIRD": each, "STATE": s, "COUNT": c, "LAM": s * each, "LEVEL": m * each}
        counts |= {"PARAM": self.parameters, "GRAD": self.gradients, "ROWS": 0}
        found, total = {}, 0
        for name, count in counts.items():
            found[name] = total
            total += count * self.width
        return found


def forward_text(sizes: Sizes, *, formed: bool, checked: bool, traced: bool) -> str:
    """Return the text of `advanced(w, v, x, z, here, place, apart, size, f)`, which advances a block of units.

    Currents are read from `here`, one after the other `apart`; outputs are written to `place`.

    Args:
        sizes: the rows of a block.
        formed: whether currents are in the first row; else they are read from `x`.
        checked: whether the second row collects what is not finite in the currents.
        traced: whether sensitivities are carried on, behind the filter whose coefficients are in `f`.

    Returns:
        Python source text.

    Example:
        >>> print(forward_text(Sizes(1, 0, 0, 0, 0, 64), formed=False, checked=False, traced=False))
        @jit
        def advanced(w, v, x, z, here, place, apart, size, f):
            for j in range(size):
                i = load(x, here + j)
                s, c, out = advance((load(w, v + 192 + j),), (), i, ())
                store(w, v + 192 + j, s[0])
                store(z, place + j, out)
    """
    at, u, m = sizes.places(), sizes.width, range(sizes.filters)
    current = f"load(w, v + {at['FIRST']} + j)" if formed else _currents("x", sizes.currents)
    state, count = (_loads("v", at[k], n, u) for k, n in (("STATE", sizes.states), ("COUNT", sizes.counters)))
    arguments = f"{_tuple(state)}, {_tuple(count)}, i, {_tuple(_loads('v', at['PARAM'], sizes.parameters, u))}"
    lines = [f"i = {current}"]
    if traced:
        lines += [f"s, c, out, A, B, D, psi, P, Q = step({arguments})"]
        for k, of in enumerate(_each(sizes.currents)):
            lam, level = at["LAM"] + k * sizes.states * u, at["LEVEL"] + k * sizes.filters * u
            lines += _named("x", _loads("v", lam, sizes.states, u)) + _named("l", _loads("v", level, sizes.filters, u))
            lines += [f"gain = psi{of} + {_dot('D[{}]', 'x{}', sizes.states)}"]
            rows = [f"{_dot(f'A[{i}][{{}}]', 'x{}', sizes.states)} + B{of}[{i}]" for i in range(sizes.states)]
            lines += _stores("v", lam, u, rows)
            gain = f"p * gain + {_dot('d{}', 'l{}', len(m))}" if m else "gain"
            lines += _stores("v", at["THIRD"] + k * u, u, [gain])
            lines += _stores("v", level, u, [f"{_dot(f'a{i}_{{}}', 'l{}', len(m))} + b{i} * gain" for i in m])
    else:
        lines += [f"s, c, out = advance({arguments})"]
    lines += _stores("v", at["STATE"], u, [f"s[{i}]" for i in range(sizes.states)])
    lines += _stores("v", at["COUNT"], u, [f"c[{i}]" for i in range(sizes.counters)])
    lines += ["store(z, place + j, out)"]
    if checked:
        lines += _stores("v", at["SECOND"], u, [f"load(w, v + {at['SECOND']} + j) + i * F(0)"])
    head = "advanced(w, v, x, z, here, place, apart, size, f)"
    return _function(head, _coefficients(sizes.filters) if traced else [], lines)


def reverse_text(sizes: Sizes, *, linked: bool, constant: bool, extra: bool, below: bool) -> str:
    """Return the text of the functions that carry a block of units back.

    `again(w, v, h, at, after, drive, here, apart, size)` advances the states saved in `h` at `at` to those at `after`;
    `credit(w, v, h, at, drive, q, here, apart, size, f, k)` carries the cotangents over one step. Currents and their
    cotangents lie at `here`, one after the other `apart`.

    Args:
        sizes: the rows of a block.
        linked: whether cotangents go from step to step through the states.
        constant: whether blocks A and B are those in `k`.
        extra: whether the second row has cotangents that do not pass the filter.
        below: whether the third row takes `psi L`.

    Returns:
        Python source text.
    """
    at, u, size, filters = sizes.places(), sizes.width, sizes.states, sizes.filters
    state = _tuple(_loads("at", 0, size, u, "h"))
    count = _tuple(_loads("at", size * u, sizes.counters, u, "h"))
    parameters = _tuple(_loads("v", at["PARAM"], sizes.parameters, u))
    arguments = f"{state}, {count}, {_currents('drive', sizes.currents)}, {parameters}"
    lines = [f"s, c, out = advance({arguments})"]
    lines += _stores("after", 0, u, [f"s[{i}]" for i in range(size)], "h")
    lines += _stores("after", size * u, u, [f"c[{i}]" for i in range(sizes.counters)], "h")
    again = _function("again(w, v, h, at, after, drive, here, apart, size)", [], lines)
    lines = [f"s, c, out, A, B, D, psi, P, Q = step({arguments})", f"signal = load(w, v + {at['FIRST']} + j)"]
    lines += _named("l", _loads("v", at["LEVEL"], filters, u))
    lines += [f"total = p * signal + {_dot('b{}', 'l{}', filters)}" if filters else "total = signal"]
    rows = [f"{_dot(f'a{{}}_{j}', 'l{}', filters)} + d{j} * signal" for j in range(filters)]
    lines += _stores("v", at["LEVEL"], u, rows)
    if extra:
        lines += [f"total += load(w, v + {at['SECOND']} + j)"]
    lam, a = "", "A[{}][{}]"
    through = [""] * sizes.currents
    if constant:
        a = "A{}_{}"
    if linked:
        lines += _named("x", _loads("v", at["LAM"], size, u))
        drives = ["B{}"] if constant else [f"B{of}[{{}}]" for of in _each(sizes.currents)]
        through = [f" + ({_dot(b, 'x{}', size)})" for b in drives]
        lam = " + ({})"
    gradients = [
        f"load(w, v + {at['GRAD'] + i * u} + j) + (Q[{i}] * total{lam.format(_dot(f'P[{i}][{{}}]', 'x{}', size))})"
        for i in range(sizes.gradients)
    ]
    lines += [*_stores("v", at["GRAD"], u, gradients)]
    if linked:
        columns = [f"{_dot(a.format('{0}', j), 'x{0}', size)} + D[{j}] * total" for j in range(size)]
        lines += _stores("v", at["LAM"], u, columns)
    if below:
        lines += _stores("v", at["THIRD"], u, [f"psi{of} * signal" for of in _each(sizes.currents)])
    for k, of in enumerate(_each(sizes.currents)):
        lines += [f"store(q, {_place(k)}, psi{of} * total{through[k]})"]
    head = _coefficients(filters) + (_constants(size) if constant else [])
    return again + "\n\n" + _function("credit(w, v, h, at, drive, q, here, apart, size, f, k)", head, lines)


def _each(currents: int) -> list[str]:
    """Return what names the part of a block that belongs to each current: nothing where there is one."""
    return [""] if currents == 1 else [f"[{k}]" for k in range(currents)]


def _place(current: int) -> str:
    return f"here + {current} * apart + j" if current else "here + j"


def _currents(array: str, count: int) -> str:
    """Return what a step takes as its current: a number, or a tuple where there are several."""
    loads = [f"load({array}, {_place(k)})" for k in range(count)]
    return loads[0] if count == 1 else _tuple(loads)


def _function(head: str, before: Iterable[str], body: Iterable[str]) -> str:
    first = "".join(f"    {line}\n" for line in before)
    return f"@jit\ndef {head}:\n{first}    for j in range(size):\n" + "".join(f"        {line}\n" for line in body)


def _loads(base: str, at: int, count: int, width: int, array: str = "w") -> list[str]:
    return [f"load({array}, {base} + {at + i * width} + j)" for i in range(count)]


def _stores(base: str, at: int, width: int, values: Iterable[str], array: str = "w") -> list[str]:
    return [f"store({array}, {base} + {at + i * width} + j, {value})" for i, value in enumerate(values)]


def _named(name: str, values: Iterable[str]) -> list[str]:
    return [f"{name}{i} = {value}" for i, value in enumerate(values)]


def _tuple(entries: Iterable[str]) -> str:
    return "(" + " ".join(f"{entry}," for entry in entries) + ")"


def _dot(a: str, b: str, size: int) -> str:
    return " + ".join(f"{a.format(i)} * {b.format(i)}" for i in range(size))


def _coefficients(m: int) -> list[str]:
    if not m:
        return []
    names = [f"a{i}_{j}" for i in range(m) for j in range(m)]
    names += [f"{kind}{i}" for kind in "bd" for i in range(m)] + ["p"]
    return [f"{name} = load(f, {i})" for i, name in enumerate(names)]


def _constants(s: int) -> list[str]:
    names = [f"A{i}_{j}" for i in range(s) for j in range(s)] + [f"B{i}" for i in range(s)]
    return [f"{name} = load(k, {i})" for i, name in enumerate(names)]
