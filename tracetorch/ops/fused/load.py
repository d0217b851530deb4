"""Execute a kernel template for one neuron and variant, with its compiled form cached on disk."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch

from tracetorch.ops.walked import Step

FAST: dict[str, Any] = {"fastmath": {"contract", "nsz", "arcp"}, "error_model": "numpy"}
WIDTHS = (16, 32, 64)
"""Numbers of units that a kernel of single steps may compute at once."""
BLOCKS = (16, 32, 64, 128, 256)
"""Numbers of units that a kernel of windows may compute at once."""


@cache
def why_not() -> str:
    """Return why the fused CPU kernels cannot run here; empty where they can."""
    if importlib.util.find_spec("numba") is None:
        return 'numba is not installed; pip install "tracetorch[fast]"'
    return ""


@cache
def digest_of(*files: Path) -> str:
    """Return a digest of sources, so that no compiled kernel outlives the text it was made of."""
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def execute(name: str, path: Path, names: Mapping[str, Any]) -> ModuleType:
    """Execute a template as a module of the given name, with names put in first."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"the kernel template {path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(names)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


CELLS = Path(__file__).with_name("cells.py")
"""The template that all others begin with."""
RAW = Path(__file__).with_name("raw.py")
"""What templates build upon without a copy of their own."""


def cell(scalar: Step, name: str, kind: Any, units: int) -> dict[str, Any]:
    """Return what a template is to know of a neuron: its numbers, its compiled step, and the functions of `cells`.

    Args:
        scalar: the neuron's step on plain numbers.
        name: beginning of the names of the modules that are made.
        kind: scalar type of NumPy.
        units: number of units that are computed at once.

    Returns:
        Names to put into a template.
    """
    names = {"S": scalar.states, "P": len(scalar.parameters), "U": units, "F": kind, "FAST": FAST}
    names["step"] = _compiled_step(scalar, f"{name}_step", kind)
    made = execute(f"{name}_cells", CELLS, names)
    return names | {k: v for k, v in vars(made).items() if getattr(v, "__module__", "") == made.__name__}


UNARY = ("log", "log1p", "expm1", "sqrt", "tanh", "sin", "cos", "tan", "floor", "ceil", "sign", "exp2", "log2")
"""Functions of NumPy of one number that a lowered step may call."""


def _typed(function: Any, kind: Any) -> Any:
    def call(x: Any) -> Any:
        return kind(function(x))

    return call


def _compiled_step(scalar: Step, name: str, kind: Any) -> Any:
    """Return a neuron's step, compiled for one scalar type."""
    import numba
    import numpy as np

    jit = numba.njit(**FAST)

    def where(condition: Any, a: Any, b: Any) -> Any:
        return a if condition else b

    def maximum(a: Any, b: Any) -> Any:
        return a if a > b else b

    def absolute(x: Any) -> Any:
        return abs(x)

    def exp(x: Any) -> Any:
        return kind(np.exp(x))

    given = {"where": where, "maximum": maximum, "absolute": absolute, "exp": exp}
    constants = {"ZERO": kind(0), "ONE": kind(1), **{k: kind(v) for k, v in scalar.numbers.items()}, **scalar.flags}
    if scalar.text:
        module = sys.modules[name] = ModuleType(name)  # else numba cannot load what it cached in another process
        exec(compile(scalar.text, name, "exec"), module.__dict__)
        constants |= {"F": kind}
        given |= {f: _typed(getattr(np, f), kind) for f in UNARY}
        given |= {"pow": lambda x, y: kind(x**y), "minimum": lambda a, b: a if a < b else b}
    else:
        module = execute(name, scalar.source, {})
    own = {k: jit(f) for k, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == name}
    module.__dict__.update({k: jit(f) for k, f in given.items()} | own | constants)
    module.__dict__.update({k: own[v] for k, v in scalar.names.items()})
    return own[scalar.step]


class Variant(NamedTuple):
    """Say what a kernel does beside its job; the switches are described in `names`."""

    events: bool = False
    counted: bool = False
    record: bool = False
    states: bool = False
    traced: bool = False
    history: bool = False
    linked: bool = False
    sent: bool = False


def width(units: int) -> int:
    """Return how many units a kernel of single steps computes at once in a layer of so many."""
    return next((w for w in WIDTHS if units <= w), WIDTHS[-1])


def block(units: int) -> int:
    """Return how many units a kernel of windows computes at once: of the larger blocks, that which pads least."""
    if units <= BLOCKS[-1]:
        return next(w for w in BLOCKS if units <= w)
    return min((w for w in BLOCKS if w >= WIDTHS[-1]), key=lambda w: (-units % w, -w))


@cache
def kernels(scalar: Step, dtype: torch.dtype, units: int, variant: Variant) -> Any:
    """Return the compiled kernels of a neuron.

    Args:
        scalar: the neuron's step on plain numbers.
        dtype: float32 or float64.
        units: number of units that are computed at once.
        variant: what they do beside their job.

    Returns:
        A module with `forward` and `reverse`.
    """
    import numba
    import numpy as np

    path = Path(__file__).with_name("kernels.py")
    kind = np.float32 if dtype == torch.float32 else np.float64
    digest = digest_of(path, CELLS, RAW, scalar.source, Path(__file__))
    text = f"{scalar.key}|{numba.__version__}|{digest}|{kind.__name__}|{units}"
    name = f"tracetorch_{hashlib.sha256(text.encode()).hexdigest()[:16]}_{''.join(str(int(v)) for v in variant)}"
    switches = {k.upper(): v for k, v in variant._asdict().items()}
    module = execute(name, path, cell(scalar, name, kind, units) | switches)
    return _compiled(module, name, ("forward", "reverse"))


EVENT_KERNELS = ("lay_out", "weight_grad", "credit_back", "carry_full")


@cache
def event_kernels(dtype: torch.dtype) -> Any:
    """Return the compiled kernels that work on events alone; a module with the functions of `events`."""
    import numba
    import numpy as np

    path = Path(__file__).with_name("events.py")
    kind = np.float32 if dtype == torch.float32 else np.float64
    text = f"{numba.__version__}|{digest_of(path, RAW)}|{kind.__name__}"
    name = f"tracetorch_events_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return _compiled(execute(name, path, {"F": kind, "FAST": FAST}), name, EVENT_KERNELS)


def _compiled(module: ModuleType, name: str, kernels: tuple[str, ...]) -> ModuleType:
    """Compile a module's kernels under names of their own, by which the cache on disk tells them apart."""
    import numba

    for kernel in kernels:
        plain = getattr(module, kernel)
        plain.__qualname__ = f"{kernel}_{name}"
        setattr(module, kernel, numba.njit(parallel=True, cache=True, **FAST)(plain))
    return module
