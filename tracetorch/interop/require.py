"""Import another project's package where it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def require(name: str) -> Any:
    """Return a package, or raise ImportError that says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(f"this needs the package {package}: pip install {package}") from error
