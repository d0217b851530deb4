"""Execute the kernel template for one neuron and variant; Triton compiles it at its first launch, cached on disk."""

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

GIVEN = ("where", "maximum", "absolute", "exp")
"""Functions of the template that a neuron's step calls."""
UNSPECIALIZED = ("steps",)
"""Arguments whose values must not make Triton compile anew."""


class Variant(NamedTuple):
    """Say what a kernel does beside its job; the switches are described in `names`."""

    block: int
    ahead: int
    counted: bool = False
    record: bool = False
    traced: bool = False
    history: bool = False
    linked: bool = False
    last: bool = False
    sent: bool = False


@cache
def why_not() -> str:
    """Return why the Triton kernels cannot run here; empty where they can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed; pip install triton"
    if not torch.cuda.is_available() and not interpreted():
        return "torch finds no CUDA device (for tests, TRITON_INTERPRET=1 runs the kernels on a CPU, slowly)"
    return ""


def interpreted() -> bool:
    """Return whether Triton interprets its kernels, which it then does on any device."""
    import triton

    return bool(triton.knobs.runtime.interpret)


def _execute(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"the text {path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _compiled(name: str, path: Path, constants: Mapping[str, Any]) -> ModuleType:
    """Execute a text, hand its functions to Triton and put constants in, as the compile-time values they are."""
    import triton
    import triton.language as tl

    module = _execute(name, path)
    for key, found in list(vars(module).items()):
        if inspect.isfunction(found) and found.__module__ == name:
            fixed = [arg for arg in inspect.signature(found).parameters if arg in UNSPECIALIZED]
            setattr(module, key, triton.jit(found, do_not_specialize=fixed))
    # Triton looks annotations up, and knows its own types alone.
    vars(module).update(tl=tl, Any=tl.tensor, fp64=tl.float64)
    # The compiler takes constants in its own wrapper alone; interpreted, the wrapper would swallow what it meets.
    vars(module).update({k: v if interpreted() else tl.constexpr(v) for k, v in constants.items()})
    return module


@cache
def kernels(scalar: Step, dtype: torch.dtype, variant: Variant) -> Any:
    """Return the kernels of a neuron.

    Args:
        scalar: the neuron's step on plain numbers.
        dtype: float32 or float64, that of states and traces.
        variant: what they do beside their job.

    Returns:
        A module with `forward` and `reverse`.

    Raises:
        TypeError: if the scalar type is another.
    """
    import triton.language as tl

    if dtype not in (torch.float32, torch.float64):
        raise TypeError(f"the Triton kernels keep states in float32 or float64, not in {dtype}; convert the states")
    path = Path(__file__).with_name("kernels.py")
    text = f"{scalar.key}|{dtype}|{variant}"
    name = f"tracetorch_triton_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    constants = {"S": scalar.states, "P": len(scalar.parameters)}
    constants |= {"F": tl.float32 if dtype == torch.float32 else tl.float64}
    module = _compiled(name, path, constants | {k.upper(): v for k, v in variant._asdict().items()})
    numbers = {"ZERO": 0.0, "ONE": 1.0, **scalar.numbers, **scalar.flags}
    steps = _compiled(f"{name}_step", scalar.source, numbers)
    vars(steps).update({k: vars(module)[k] for k in GIVEN})
    vars(steps).update({k: vars(steps)[v] for k, v in scalar.names.items()})
    module.step = vars(steps)[scalar.step]  # type: ignore[attr-defined]
    return module
