"""Compile a network's whole step of online learning: its layers, chained, and the loss."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tracetorch.ops.fused.load import CELLS, FAST, cell, digest_of, execute

_ROWS = ("normal", "currents", "add", "add_two", "add_events", "carry_one", "carry_two")
Run = Callable[..., tuple[int, float]]


class Link(NamedTuple):
    """Say what a layer does in a step of online learning; the switches are described in `online_names`."""

    scalar: Any
    width: int
    storage: str
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


@cache
def chain(links: Sequence[Link], dtype: torch.dtype) -> Run:
    """Return the compiled step of a network.

    Args:
        links: what each layer does, from the first, as a tuple.
        dtype: float32 or float64.

    Returns:
        The function; its arguments are those of `run` in `online`.
    """
    import numpy as np

    numba: Any = import_module("numba")
    here = Path(__file__).parent
    template, loss = here / "online.py", here / "online_loss.py"
    others = (CELLS, here / "online_rows.py", here / "table.py", Path(__file__))
    kind = np.float32 if dtype == torch.float32 else np.float64
    digest = digest_of(template, loss, *others, *(link.scalar.source for link in links))
    text = f"{digest}|{numba.__version__}|{kind.__name__}|{[(link.scalar.key, *link[1:]) for link in links]}"
    name = f"tracetorch_online_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    common = _common(kind, dtype)
    last = execute(f"{name}_loss", loss, {**common, "LEVEL": len(links)})
    rest = numba.njit(inline="always", **FAST)(last.loss)
    for level in reversed(range(len(links))):
        link = links[level]
        names = {
            **cell(link.scalar, f"{name}_{level}", kind, link.width),
            "PRE": link.storage == "pre",
            "FULL": link.storage == "full",
            "FACTOR": link.storage == "factor",
            "GAIN": link.gain,
            "SENDS": link.sends,
            "FEEDBACK": link.feedback,
            "LEVEL": level,
            "rest": rest,
        }
        module = execute(f"{name}_{level}", template, {**common, **names})
        module.run.__qualname__ = f"run_{name}_{level}"
        rest = numba.njit(**({"cache": True} if level == 0 else {"inline": "always"}), **FAST)(module.run)
    return rest  # type: ignore[no-any-return]
