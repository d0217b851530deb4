"""Functions that the text of a neuron's step calls, for Triton's compiler and for its interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from tracetorch.backends.triton.support import interpreted


def functions(names: Iterable[str], dtype: torch.dtype) -> dict[str, Any]:
    """Return functions of a float type by the names that a step's text has for them, those of `FUNCTIONS`.

    Compiled, they are the device library's, more precise than the fast ones of the language. Interpreted, they are
    NumPy's, as the interpreter has no device library.
    """
    if interpreted():
        import numpy as np

        elsewhere = {"pow": np.power}
        return {name: _by_numpy(elsewhere.get(name) or getattr(np, name)) for name in names}
    import triton.language as tl
    from triton.language.extra import libdevice

    known = {"sqrt": tl.sqrt_rn if dtype == torch.float32 else tl.sqrt, "abs": tl.abs, "floor": tl.floor}
    return {name: known[name] if name in known else getattr(libdevice, name) for name in names}


def _by_numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of interpreted values that computes with the arrays inside."""

    def call(*values: Any) -> Any:
        from triton.runtime.interpreter import TensorHandle

        first = max(values, key=lambda v: v.handle.data.ndim)
        data = function(*(v.handle.data for v in values)).astype(first.handle.data.dtype)
        return type(first)(TensorHandle(data, first.handle.dtype), first.type)

    return call
