"""Load the kernel template for one neuron and variant, with its compiled form cached on disk."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch

FAST = {"fastmath": {"contract", "nsz", "arcp"}, "error_model": "numpy"}


class Step(Protocol):
    """Say what a neuron brings: a builder of its step on plain numbers, and a key of its own."""

    build: Any
    key: str
    states: int
    parameters: tuple[str, ...]


@cache
def why_not() -> str:
    """Return why the fused CPU kernels cannot run here; empty where they can."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return 'numba is not installed; pip install "tracetorch[fast]"'
    return ""


_loaded: dict[str, ModuleType] = {}


def kernels(scalar: Step, dtype: torch.dtype, *, events: bool, record: bool, traced: bool) -> Any:
    """Return the compiled kernels of a neuron.

    Args:
        scalar: the neuron's step on plain numbers.
        dtype: float32 or float64.
        events: whether the input is walked by its events.
        record: whether states and currents are kept.
        traced: whether sensitivities are carried.

    Returns:
        A module with `forward`, `reverse` and `weight_grad`.
    """
    import numba
    import numpy as np

    path = Path(__file__).with_name("kernels.py")
    size = "f4" if dtype == torch.float32 else "f8"
    text = f"{scalar.key}|{numba.__version__}|{_sources()}"
    name = f"tracetorch_{hashlib.sha256(text.encode()).hexdigest()[:12]}_{size}_{events:d}{record:d}{traced:d}"
    if name not in _loaded:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"the kernel template {path} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        kind = np.float32 if size == "f4" else np.float64
        module.__dict__.update(
            F=kind,
            S=scalar.states,
            P=len(scalar.parameters),
            EVENTS=events,
            RECORD=record,
            TRACED=traced,
            FAST=FAST,
            step=scalar.build(kind, numba.njit(**FAST)),
        )
        sys.modules[name] = module
        spec.loader.exec_module(module)
        for kernel in ("forward", "reverse", "weight_grad"):
            plain = getattr(module, kernel)
            plain.__qualname__ = f"{kernel}_{name}"
            setattr(module, kernel, numba.njit(parallel=True, cache=True, **FAST)(plain))
        _loaded[name] = module
    return _loaded[name]


@cache
def _sources() -> str:
    """Return a digest of the code that compiled kernels are made of, so that none outlives it."""
    folder = Path(__file__).parent
    files = [folder / "kernels.py", folder.parent.parent / "neurons" / "scalar.py"]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]
