"""Entry points of compiled kernels: functions of C that take shares of the work until none is left.

An entry point has one argument, an array of integers: the next share, the number of shares, the pieces of work, and
then each argument of the kernel, an array as its address and size, a tuple as its numbers. So any thread can run it:
one of torch's own OpenMP threads or a plain one.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

import torch

from tracetorch.backends.numba.options import FAST

_LOG = logging.getLogger("tracetorch")
HEAD = 3
"""Integers before those of the kernel's arguments."""


def compiled_entry(name: str, function: Callable[..., None], kinds: Sequence[int | torch.dtype], path: Path) -> Any:
    """Compile the entry point of a kernel, or load it from the cache beside `path`; its `address` is that of the entry.

    The name is unique for the kernel's text; `kinds` has the scalar type of each array, or the length of each tuple,
    among the arguments, of which the kernel's last two are the bounds of a share.
    """
    import numba

    entry = _function(_text(kinds), function, path)
    kinds_text = hashlib.sha256("_".join(map(str, kinds)).encode()).hexdigest()[:8]  # a file's name has 255 bytes
    return c_function(f"{name}_{kinds_text}", entry, numba.void(numba.types.CPointer(numba.int64)))


def c_function(name: str, function: Callable[..., Any], signature: Any) -> Any:
    """Compile a function of C with Numba's types, or load it from the cache; the compiler's errors pass through.

    The name is unique for the function's text and what it refers to.
    """
    import numba

    function.__qualname__ = name
    started = time.perf_counter()
    with _without_collector():
        try:
            made = numba.cfunc(signature, cache=True, **FAST)(function)
        except OSError as error:  # the machine code is there, but could not be written: a full disk
            _LOG.warning("compiled kernel %s cannot be cached: %s", name, error)
            made = numba.cfunc(signature, **FAST)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            _notice_no_cache()
            made = numba.cfunc(signature, **FAST)(function)
    if not made.cache_hits:
        _LOG.info("compiled kernel %s in %.1f s", name, time.perf_counter() - started)
    return made


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause Python's collector of circular garbage, which takes a sixth of the compiler's time and finds little."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _text(kinds: Sequence[int | torch.dtype]) -> str:
    """Return the text of an entry point."""
    at, arguments = HEAD, []
    for kind in kinds:
        if isinstance(kind, int):
            arguments.append("(" + "".join(f"block[{at + i}], " for i in range(kind)) + ")")
            at += kind
        else:
            name = str(kind).removeprefix("torch.")
            arguments.append(f"carray(pointer(block[{at}]), (block[{at + 1}],), {name})")
            at += 2
    lines = [f"    a{i} = {argument}" for i, argument in enumerate(arguments)]
    names = "".join(f"a{i}, " for i in range(len(arguments)))
    return "\n".join(
        [
            "def entry(data):",
            f"    block = carray(data, ({at},))",
            "    shares, total = block[1], block[2]",
            *lines,
            "    share = advance(data)",
            "    while share < shares:",
            f"        kernel({names}total * share // shares, total * (share + 1) // shares)",
            "        share = advance(data)",
        ]
    )


def _function(text: str, kernel: Callable[..., None], path: Path) -> FunctionType:
    """Return the function of a text, with the file to which its cache belongs."""
    import numba
    import numpy as np

    from tracetorch.backends.numba.raw import advance, pointer

    names: dict[str, Any] = {"__name__": __name__}
    names |= {key: getattr(np, key) for key in ("float32", "float64", "int32", "int64", "uint8", "bool_")}
    names |= {"carray": numba.carray, "pointer": pointer, "advance": advance, "kernel": kernel}
    exec(compile(text, str(path), "exec"), names)
    entry: FunctionType = names["entry"]
    return entry


@lru_cache(1)
def _notice_no_cache() -> None:
    _LOG.warning(
        "compiled kernels cannot be cached: neither %s nor the user's cache folder can be written; every process "
        "compiles them again. Set NUMBA_CACHE_DIR to a folder that can be written",
        Path(__file__).parent,
    )
