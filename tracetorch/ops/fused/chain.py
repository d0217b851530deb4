"""Compile a step of online learning: a network's layers, chained, with the loss, or one layer alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch

from tracetorch.ops.fused.load import CELLS, FAST, RAW, cell, digest_of, execute

_ROWS = ("normal", "currents", "add", "add_two", "add_events", "decay", "carry_one", "carry_two")
Run = Callable[..., tuple[int, float]]


class Link(NamedTuple):
    """Say what a layer does in a step of online learning; the switches are described in `online_names`."""

    scalar: Any
    width: int
    storage: str
    filtered: bool
    gain: bool
    sends: bool
    feedback: bool


@cache
def _arrays(kind: Any) -> dict[str, Any]:
    """Return functions for compiled code that give the arrays at an address."""
    numba: Any = import_module("numba")
    types: Any = import_module("numba.core.types")
    intrinsic: Any = import_module("numba.extending").intrinsic

    def pointing(to: Any) -> Any:
        @intrinsic
        def pointer(context: Any, address: Any) -> Any:
            def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

            return types.CPointer(to)(types.int64), build

        return pointer

    real, whole = pointing(numba.from_dtype(torch.empty(0, dtype=kind).numpy().dtype)), pointing(types.int64)

    @numba.njit(**FAST)
    def reals(address: Any, shape: Any) -> Any:
        return numba.carray(real(address), shape)

    @numba.njit(**FAST)
    def integers(address: Any, shape: Any) -> Any:
        return numba.carray(whole(address), shape)

    return {"reals": reals, "integers": integers}


@cache
def _common(kind: Any, dtype: torch.dtype) -> dict[str, Any]:
    """Return the names that are the same for all layers, with the row functions compiled for a scalar type."""
    numba: Any = import_module("numba")
    import numpy as np

    names = {"F": kind, "FAST": FAST, "njit": numba.njit, **_arrays(dtype)}
    path = Path(__file__).with_name("online_rows.py")
    options = {
        "SUMS": {**FAST, "fastmath": {"contract", "nsz", "arcp", "reassoc"}},
        "TINY": np.finfo(kind).tiny * kind(1e8),
    }
    made = execute(f"tracetorch_online_rows_{kind.__name__}", path, {**names, **options})
    return names | {n: getattr(made, n) for n in _ROWS}


def _named(links: Sequence[Link], dtype: torch.dtype) -> tuple[str, Any]:
    """Return the beginning of the names of what is compiled for some layers, and their scalar type."""
    import numpy as np

    numba: Any = import_module("numba")
    kind = np.float32 if dtype == torch.float32 else np.float64
    here = Path(__file__).parent
    digest = digest_of(*sorted(here.glob("online*.py")), CELLS, RAW, here / "table.py", Path(__file__))
    steps = digest_of(*(link.scalar.source for link in links))
    text = f"{digest}|{steps}|{numba.__version__}|{kind.__name__}|{[(link.scalar.key, *link[1:]) for link in links]}"
    return f"tracetorch_online_{hashlib.sha256(text.encode()).hexdigest()[:16]}", kind


def _layer(name: str, link: Link, level: int, common: Mapping[str, Any], rest: Any) -> ModuleType:
    """Execute the template for one layer; `rest` is what follows it, None where it gives credit to autograd."""
    if link.storage not in ("none", "pre", "full", "factor"):
        raise ValueError(f"no kernel of single steps knows traces of the kind {link.storage!r}")
    switches = {
        "PRE": link.storage == "pre",
        "FULL": link.storage == "full",
        "FILTERED": link.filtered,
        "FACTOR": link.storage == "factor",
        "GAIN": link.gain,
        "SENDS": link.sends,
        "FEEDBACK": link.feedback,
        "FRESH": rest is None,
        "LEVEL": level,
        "rest": rest,
    }
    names = {**common, **cell(link.scalar, f"{name}_{level}", common["F"], link.width), **switches}
    return execute(f"{name}_{level}", Path(__file__).with_name("online.py"), names)


@cache
def chain(links: Sequence[Link], dtype: torch.dtype) -> Run:
    """Return the compiled step of a network.

    Args:
        links: what each layer does, from the first, as a tuple.
        dtype: float32 or float64.

    Returns:
        The function; its arguments are those of `run` in `online`.
    """
    numba: Any = import_module("numba")
    name, kind = _named(links, dtype)
    common = _common(kind, dtype)
    last = execute(f"{name}_loss", Path(__file__).with_name("online_loss.py"), {**common, "LEVEL": len(links)})
    rest = numba.njit(inline="always", **FAST)(last.loss)
    for level in reversed(range(len(links))):
        module: Any = _layer(name, links[level], level, common, rest)
        module.run.__qualname__ = f"run_{name}_{level}"
        rest = numba.njit(**({"cache": True} if level == 0 else {"inline": "always"}), **FAST)(module.run)
    return rest  # type: ignore[no-any-return]


@cache
def single(link: Link, dtype: torch.dtype) -> tuple[Callable[..., bool], Callable[..., bool]]:
    """Return the compiled ways of one layer through a step, forwards and back.

    Args:
        link: what the layer does.
        dtype: float32 or float64.

    Returns:
        The functions; their arguments are those of `begin` and `give` in `online_single`.
    """
    numba: Any = import_module("numba")
    name, kind = _named((link,), dtype)
    whole: Any = _layer(name, link, 0, _common(kind, dtype), None)
    own = {k: v for k, v in vars(whole).items() if not k.startswith("__")}
    made = execute(f"{name}_single", Path(__file__).with_name("online_single.py"), own)
    for function in (made.begin, made.give):
        function.__qualname__ = f"{function.__name__}_{name}"
    return tuple(numba.njit(cache=True, **FAST)(f) for f in (made.begin, made.give))
