"""Compile the step program's functions under addresses, by which Python and one another call them.

The functions that know no neuron are compiled once per scalar type, a neuron's own once per set of learned parameters
and width. A template is executed with names put in: those of `_common`, and all that the templates before it define.
So a network costs the compiler one small function per kind of neuron; single steps and streams share all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tracetorch.backends.numba.compile import _execute_text, _functions, _kind, _name, execute
from tracetorch.backends.numba.inner import inner
from tracetorch.backends.numba.launch import c_function
from tracetorch.backends.numba.steps.layout import Sizes
from tracetorch.backends.numba.steps.text import stepped_text
from tracetorch.neurons.lowering import Lowered, functions_of, step_text

_HERE = Path(__file__).parent
_ARGUMENTS = {
    "units": "iii",
    "begin": "iiiii",
    "give": "iiiiid",
    "drive": "iiiiid",
    "sgd": "iiiiiddddi",
    "adam": "iiiiiidddddd",
}
"""Types of the functions' arguments: `i` for addresses and sizes, `d` for numbers."""


class Function(NamedTuple):
    """A compiled function: its address, itself for Python, and what owns the machine code."""

    address: int
    call: Callable[..., int]
    owner: Any


def _signature(arguments: str) -> Any:
    import numba

    kinds = {"i": numba.types.int64, "d": numba.types.float64}
    return numba.types.int64(*(kinds[a] for a in arguments))


def _compiled(name: str, function: Any, arguments: str) -> Function:
    found = c_function(name, function, _signature(arguments))
    return Function(found.address, found.ctypes, found)


def _memory(to: Any) -> tuple[Any, Any]:
    """Return functions for compiled code that load and store the k-th value of a type from an address on."""
    import numba
    from numba.extending import intrinsic

    pointer, whole = numba.types.CPointer(to), numba.types.int64

    def place(context: Any, builder: Any, args: Any) -> Any:
        return builder.gep(builder.inttoptr(args[0], context.get_value_type(pointer)), [args[1]])

    @intrinsic
    def load(context: Any, address: Any, at: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load(place(context, builder, args))

        return to(whole, whole), build

    @intrinsic
    def store(context: Any, address: Any, at: Any, value: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store(args[2], place(context, builder, args))
            return context.get_dummy_value()

        return numba.types.void(whole, whole, to), build

    return load, store


def _caller(arguments: str) -> Any:
    """Return a function for compiled code that calls the function at an address, its first argument."""
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic

    kinds = {"i": (ir.IntType(64), numba.types.int64), "d": (ir.DoubleType(), numba.types.float64)}
    plain = ir.FunctionType(ir.IntType(64), [kinds[a][0] for a in arguments])

    def typed(context: Any, *arguments_types: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.call(builder.inttoptr(args[0], plain.as_pointer()), args[1:])

        types = [numba.types.int64, *(kinds[a][1] for a in arguments)]
        return numba.types.int64(*types), build

    names = ", ".join(f"a{i}" for i in range(len(arguments)))
    scope: dict[str, Any] = {"typed": typed}
    exec(f"def call(context, address, {names}):\n    return typed(context)", scope)  # an intrinsic has no *arguments
    return intrinsic(scope["call"])


@lru_cache(2)
def _common(dtype: torch.dtype) -> dict[str, Any]:
    """Return the names that all templates are given."""
    import numba

    kind = _kind(dtype)
    get, put = _memory(numba.from_dtype(np.dtype(kind)))
    place, put_place = _memory(numba.types.uint32)
    col, set_col = _memory(numba.types.int64)
    names = {
        "F": kind,
        "TINY": np.finfo(kind).tiny * kind(1e8),
        "TINIEST": np.finfo(kind).tiny,
        "jit": inner,
        "reassociated": partial(inner, reassociated=True),
        "get": get,
        "put": put,
        "place": place,
        "put_place": put_place,
        "col": col,
        "set_col": set_col,
        "put64": _memory(numba.types.float64)[1],
    }
    names |= {f"run_{name}": _caller(_ARGUMENTS[name]) for name in ("units", "begin", "give")}
    return _template("rows", dtype, names)


@cache  # addresses are kept where a function that left the cache would be no more
def function(dtype: torch.dtype, which: str, *, pairs: bool = False) -> Function:
    """Return a function that knows no neuron: `begin`, `give`, `drive`, `sgd` or `adam`, compiled at its first use.

    `begin` and `give` serve traces of pairs as well if `pairs` is set: a fifth of the compiler's time for few networks.
    """
    file = {"begin": "layer", "give": "layer", "drive": "drive"}.get(which, "update")
    names = _layer(dtype, pairs) if file == "layer" else _template(file, dtype, _common(dtype))
    return _compiled(f"{which}_{_name(file, dtype, pairs)}", names[which], _ARGUMENTS[which])


@lru_cache(4)
def _layer(dtype: torch.dtype, pairs: bool) -> dict[str, Any]:
    names = _common(dtype) | {"WITH_PAIRS": pairs}
    for file in ("places", "pairs", "forward", "credit", "carry", "layer"):
        names = _template(file, dtype, names)
    return names


def _template(file: str, dtype: torch.dtype, names: dict[str, Any]) -> dict[str, Any]:
    """Return names together with those that a template defines when it is given them."""
    module = execute(_name(file, dtype, names.get("WITH_PAIRS")), _HERE / f"{file}.py", names)
    return {key: value for key, value in vars(module).items() if not key.startswith("_")}


@lru_cache(256)
def units(lowered: Lowered, dtype: torch.dtype, width: int, learned: tuple[str, ...]) -> Function:
    """Return a neuron's own `units` of `units.py`, for `width` units at once, with eligibilities of `learned`."""
    sizes = Sizes(lowered.states, lowered.counters, len(lowered.parameters), len(learned), 0)
    source, text = step_text(lowered, learned=learned), stepped_text(sizes, width)
    name, names = _name("units", source, text, dtype), _common(dtype)
    step = _execute_text(f"{name}_step", source, _functions(_kind(dtype), functions_of(lowered)))["step"]
    used = names | {"load": names["get"], "store": names["put"], "step": inner(step)}
    names = names | {"stepped": _execute_text(f"{name}_text", text, used)["stepped"]}
    return _compiled(name, execute(name, _HERE / "units.py", names).units, _ARGUMENTS["units"])
