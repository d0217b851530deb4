"""Execute the kernel template for one neuron and variant; Triton compiles it at its first launch, cached on disk."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import linecache
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch

from tracetorch.backends.triton.cells import forward_text, reverse_text
from tracetorch.backends.triton.functions import functions
from tracetorch.backends.triton.support import interpreted
from tracetorch.neurons.lowering import Lowered, functions_of

_TEMPLATE = Path(__file__).with_name("kernels.py")
_UNSPECIALIZED = ("steps", "first", "first_raw")
"""Arguments whose values must not make Triton compile again."""
_FORWARD_AHEAD, _REVERSE_AHEAD = 4, 2
"""Steps by which loads run ahead; a step back loads three to five arrays, a step forward one."""
_SWITCHES = ("RECORD", "TRACED", "LINKED", "EXTRA", "BELOW")
_CACHED = 512


class Forward(NamedTuple):
    """Variant of the forward kernel: switches of the template.

    Args:
        record: whether it writes the states before each step, instead of all else.
        traced: whether sensitivities are carried on.
        filters: number of states of the filter of sensitivities.
    """

    record: bool = False
    traced: bool = False
    filters: int = 0


class Reverse(NamedTuple):
    """Variant of the reverse kernel: switches of the template.

    Args:
        linked: whether cotangents go from step to step.
        constant: whether constant blocks are given.
        extra: whether outputs have cotangents that do not pass the filter.
        below: whether `psi L` is returned.
        filters: number of states of the filter above the outputs.
        learned: the parameters whose gradients are formed, in the order in which the step reads them.
    """

    linked: bool = True
    constant: bool = False
    extra: bool = False
    below: bool = False
    filters: int = 0
    learned: tuple[str, ...] = ()


def _constants(lowered: Lowered, variant: Forward | Reverse) -> dict[str, int | bool]:
    """Return the template's numbers and switches."""
    states, saved, m = lowered.states, lowered.states + lowered.counters, variant.filters
    numbers = {"STATES": states, "SAVED": saved, "PARAMETERS": len(lowered.parameters), "GRADIENTS": 0}
    numbers["COEFFICIENTS"] = m * m + 2 * m + 1 if m else 0
    if isinstance(variant, Forward):
        numbers |= {"AHEAD": _FORWARD_AHEAD, "CARRIED": saved + (states + m if variant.traced else 0)}
    else:
        numbers |= {"AHEAD": _REVERSE_AHEAD, "CARRIED": m + (states if variant.linked else 0)}
        numbers["COEFFICIENTS"] += states * states + states if variant.constant else 0
        numbers["GRADIENTS"] = len(variant.learned)
    switches = variant._asdict()
    return numbers | {name: bool(switches.get(name.lower())) for name in _SWITCHES}


def _template(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, _TEMPLATE)
    if spec is None or spec.loader is None:
        raise ImportError(f"the kernel template {_TEMPLATE} cannot be loaded; reinstall tracetorch")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _text(name: str, text: str) -> ModuleType:
    """Execute source text as a module whose lines can be looked up, as Triton compiles from the source."""
    file = f"<{name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(text, file, "exec"), module.__dict__)
    return module


def _jit(module: ModuleType, names: Mapping[str, Any]) -> None:
    """Turn a module's functions into Triton's, and put names in that they refer to."""
    import triton

    for key, function in list(vars(module).items()):
        if inspect.isfunction(function) and function.__module__ == module.__name__:
            fixed = [arg for arg in inspect.signature(function).parameters if arg in _UNSPECIALIZED]
            setattr(module, key, triton.jit(function, do_not_specialize=fixed))
    vars(module).update(names)


@lru_cache(_CACHED)
def kernel(lowered: Lowered, dtype: torch.dtype, block: int, variant: Forward | Reverse) -> Any:
    """Return the kernel `forward` or `reverse` of a neuron in float32 or float64; it scans a power of two of units."""
    import triton.language as tl

    single = dtype == torch.float32
    if isinstance(variant, Forward):
        text = forward_text(lowered, variant.filters, traced=variant.traced, single=single)
    else:
        switches = {"linked": variant.linked, "constant": variant.constant, "extra": variant.extra, "single": single}
        text = reverse_text(lowered, variant.filters, variant.learned, **switches)
    digest = hashlib.sha256(f"{lowered.key}|{dtype}|{block}|{variant!r}".encode()).hexdigest()[:16]
    name = f"tracetorch_triton_{type(variant).__name__.lower()}_{digest}"
    # The compiler takes constants in its own wrapper alone; interpreted, the wrapper would swallow what it meets.
    wrap = (lambda x: x) if interpreted() else tl.constexpr
    constants = {key: wrap(value) for key, value in (_constants(lowered, variant) | {"BLOCK": block}).items()}
    constants["F"] = wrap(tl.float32 if single else tl.float64)
    module, cells = _template(name), _text(f"{name}_cells", text)
    _jit(module, constants | {"tl": tl, "Any": tl.tensor})  # Triton looks annotations up, and knows its own types alone
    _jit(cells, constants | {"tl": tl, "full": module.full} | functions(functions_of(lowered), dtype))
    cell = "advanced" if isinstance(variant, Forward) else "credited"
    vars(module)[cell] = vars(cells)[cell]
    return vars(module)[type(variant).__name__.lower()]
