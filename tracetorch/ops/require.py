"""Optional packages, which are imported where they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def require(name: str, install: str = "") -> Any:
    """Return a module, or raise ImportError that says how to install its package, by its own name if not otherwise."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(f"this needs the package {package}: pip install {install or package}") from error
