"""Compile kernels for one neuron and variant, and cache their machine code on disk where a folder can be written."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch

from tracetorch.backends.numba.cells import Sizes, forward_text, reverse_text
from tracetorch.backends.numba.inner import inner
from tracetorch.backends.numba.launch import compiled_entry
from tracetorch.backends.numba.workers import Workers
from tracetorch.neurons.lowering import Lowered, advance_text, functions_of, step_text

_HERE = Path(__file__).parent
_CACHED = 512


class Forward(NamedTuple):
    """Variant of the forward kernel: switches of the template.

    Args:
        events: whether currents are formed from inputs' events.
        recurrent: whether currents from the last outputs are added.
        traced: whether sensitivities are carried on.
    """

    events: bool
    recurrent: bool
    traced: bool


class Reverse(NamedTuple):
    """Variant of the reverse kernel: switches of the template.

    Args:
        linked: whether cotangents go from step to step.
        constant: whether constant blocks are given.
        extra: whether outputs have cotangents that do not pass the filter.
        fed: whether outputs have cotangents through the recurrent synapse.
        below: whether `psi L` is returned.
    """

    linked: bool
    constant: bool
    extra: bool
    fed: bool
    below: bool


class Kernel:
    """A compiled function that works on shares of its work in parallel.

    It is compiled at its first call; the compiler's errors pass through.

    Args:
        name: name under which the machine code is cached, unique for the function's text and what it refers to.
        function: the function, whose last two arguments are the bounds of a share.
        path: file of the function's text.
    """

    def __init__(self, name: str, function: Callable[..., None], path: Path) -> None:
        self.name = name
        self._function, self._path = inner(function), path
        self._entries: dict[tuple[Any, ...], Any] = {}
        self._lock = threading.Lock()

    def __call__(self, workers: Workers, total: int, *arguments: Any) -> None:
        """Run on `total` pieces of work; contiguous tensors are passed as flat arrays, and tuples of integers."""
        kinds: list[Any] = []
        places: list[int] = []
        for a in arguments:
            if isinstance(a, tuple):
                kinds.append(len(a))
                places += a
            elif a.is_contiguous():
                kinds.append(a.dtype)
                places += (a.data_ptr(), a.numel())
            else:
                raise ValueError(f"the kernel {self.name} needs contiguous arrays; strides {a.stride()} were given")
        workers.run(self._entry(tuple(kinds)).address, total, places)

    def _entry(self, kinds: tuple[Any, ...]) -> Any:
        """Return the entry point for arguments of these types; one thread compiles it, others wait."""
        entry = self._entries.get(kinds)
        if entry is not None:
            return entry
        with self._lock:
            if kinds not in self._entries:
                self._entries[kinds] = compiled_entry(self.name, self._function, kinds, self._path)
            return self._entries[kinds]


@lru_cache(1)
def _text_digest() -> str:
    """Return a digest of what all kernels are made of, so that no machine code outlives its source."""
    import numba

    sources = b"".join(f.read_bytes() for f in sorted(_HERE.rglob("*.py")))
    return hashlib.sha256(sources + numba.__version__.encode()).hexdigest()


def _name(prefix: str, *parts: object) -> str:
    """Return a name that is unique for the sources and the parts."""
    text = "|".join(str(part) for part in (_text_digest(), *parts))
    return f"tracetorch_{prefix}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def execute(name: str, path: Path, names: Mapping[str, Any]) -> ModuleType:
    """Execute a template as a module of the given name, with names put in first."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"the kernel template {path} cannot be loaded; reinstall tracetorch")
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(names)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _execute_text(name: str, text: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Execute source text as a module and return the functions that it defines."""
    module = ModuleType(name)
    module.__dict__.update(names)
    sys.modules[name] = module
    before = set(module.__dict__)
    exec(compile(text, f"<{name}>", "exec"), module.__dict__)
    return {key: value for key, value in module.__dict__.items() if key not in before and key != "__builtins__"}


def _kind(dtype: torch.dtype) -> Any:
    import numpy as np

    return np.float32 if dtype == torch.float32 else np.float64


def _functions(kind: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return what the text of a neuron's step refers to, for one scalar type."""
    import numpy as np

    def where(condition: Any, a: Any, b: Any) -> Any:
        return a if condition else b

    def power(x: Any, y: Any) -> Any:
        return kind(x**y)

    def typed(function: Any) -> Any:
        def call(x: Any) -> Any:
            return kind(function(x))

        return call

    functions = {name: power if name == "pow" else typed(getattr(np, name)) for name in names} | {"where": where}
    for name, function in functions.items():
        function.__qualname__ = f"{name}_{kind.__name__}"  # unique: machine code of several processes meets in a cache
    return {"F": kind, **{name: inner(function) for name, function in functions.items()}}


@lru_cache(_CACHED)
def neuron_kernel(
    lowered: Lowered, dtype: torch.dtype, width: int, filters: int, variant: Forward | Reverse, *learned: str
) -> Kernel:
    """Return the kernel `forward` or `reverse` of a neuron, with the arguments of that function in `kernels.py`.

    It computes `width` units at once under a filter of so many states; the reverse forms the gradients of the
    parameters `learned`, which the step reads.
    """
    from tracetorch.backends.numba import raw

    kind, what = _kind(dtype), type(variant).__name__.lower()
    sizes = Sizes(
        lowered.states, lowered.counters, len(lowered.parameters), filters, len(learned), width, lowered.currents
    )
    if isinstance(variant, Forward):
        formed = variant.events or variant.recurrent
        text = forward_text(sizes, formed=formed, checked=variant.events, traced=variant.traced)
    else:
        switches = variant._asdict()
        del switches["fed"]
        text = reverse_text(sizes, **switches)
    source = f"{step_text(lowered, learned=learned)}\n\n{advance_text(lowered)}"
    name = _name(what, source, text, kind.__name__, variant)
    steps = _execute_text(f"{name}_step", source, _functions(kind, functions_of(lowered)))
    common = {"load": raw.load, "store": raw.store, "F": kind, "jit": inner}
    common |= {key: inner(steps[key]) for key in ("step", "advance")}
    names = {key.upper(): value for key, value in asdict(sizes).items()} | sizes.places() | {"U": width, "F": kind}
    names |= dict.fromkeys(_SWITCHES, False) | {key.upper(): value for key, value in variant._asdict().items()}
    module = execute(name, _HERE / "kernels.py", names | _execute_text(f"{name}_cells", text, common))
    return Kernel(name, getattr(module, what), _HERE / "kernels.py")


_SWITCHES = [field.upper() for kind in (Forward, Reverse) for field in kind._fields]


@lru_cache(4)
def event_module(dtype: torch.dtype, template: str) -> tuple[str, ModuleType]:
    """Return a template of kernels that know no neuron, executed for a scalar type, and its name."""
    name = _name(template, dtype)
    return name, execute(name, _HERE / f"{template}.py", {"F": _kind(dtype), "jit": inner})


@lru_cache(16)
def event_kernel(dtype: torch.dtype, kernel: str, template: str = "events") -> Kernel:
    """Return one of the kernels that know no neuron, by its name in `events.py` or another template."""
    name, module = event_module(dtype, template)
    return Kernel(f"{kernel}_{name}", getattr(module, kernel), _HERE / f"{template}.py")
