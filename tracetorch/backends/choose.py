"""Choose the backend that serves a scan."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import torch

from tracetorch.backends.interface import Scan, ScanBackend
from tracetorch.backends.torch import Torch

_REFERENCE = Torch()
NAMES = ("torch", "numba", "triton")


def reference() -> ScanBackend:
    """Return the readable backend, which serves everything."""
    return _REFERENCE


@cache
def load(name: str) -> Any:
    """Return a backend by name, or the reason why it cannot run here as a text."""
    if name == "torch":
        return _REFERENCE
    module = import_module(f"tracetorch.backends.{name}")
    why = module.why_not()
    return why if why else module.backend()


def available_backends() -> dict[str, str]:
    """Return which backends can run here.

    Returns:
        Why each backend cannot run, by name; an empty text where it can.

    Example:
        >>> import tracetorch as tt
        >>> tt.available_backends()["torch"]
        ''
    """
    return {name: found if isinstance(found := load(name), str) else "" for name in NAMES}


def choose(name: str, scan: Scan) -> ScanBackend:
    """Return the backend that serves a scan, by its name or `auto`; raise RuntimeError where the one named cannot."""
    if name == "torch" or (name == "auto" and torch.compiler.is_compiling()):
        return _REFERENCE
    if name == "auto":
        device = scan.drive.device.type
        found = load({"cpu": "numba", "cuda": "triton"}.get(device, "torch"))
        if isinstance(found, str) or not found.pays(scan) or found.why_not(scan):
            return _REFERENCE
        return found  # type: ignore[no-any-return]
    found = load(name)
    why = found if isinstance(found, str) else found.why_not(scan)
    if why:
        raise RuntimeError(f"backend {name!r} cannot serve this layer: {why}; tt.set_backend(net, 'auto') chooses")
    return found  # type: ignore[no-any-return]
