"""Pickle modules with parametrizations, which torch makes a class of its own for and refuses to pickle."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.utils import parametrize


def pickled(module: nn.Module) -> tuple[Any, ...] | None:
    """Return what `__reduce_ex__` of a parametrized module returns: its class before, and its own dictionary.

    It is None for one without parametrizations, which needs nothing.
    """
    if "parametrizations" not in module.__dict__.get("_modules", {}):
        return None
    state = {k: v for k, v in module.__dict__.items() if k != "_lowered"}
    return _restored, (type(module).__mro__[1], state)


def _restored(kind: type[nn.Module], state: dict[str, Any]) -> nn.Module:
    module: nn.Module = object.__new__(kind)
    module.__dict__.update(state)
    parametrize._inject_new_class(module)
    for name in module._modules["parametrizations"]._modules:  # type: ignore[union-attr]
        parametrize._inject_property(module, name)
    return module
