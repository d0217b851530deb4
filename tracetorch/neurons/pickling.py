"""Pickle modules with parametrizations, which torch makes a class of its own for and refuses to pickle."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.utils import parametrize


def stated(module: nn.Module) -> tuple[type[nn.Module], dict[str, Any]]:
    """Return a module's class as it is without parametrizations, and the state that this class says it has.

    The class that torch makes where there are some refuses to say one.
    """
    kind: Any = type(module).__mro__[1] if parametrize.is_parametrized(module) else type(module)
    return kind, kind.__getstate__(module)


def pickled(module: nn.Module) -> tuple[Any, ...] | None:
    """Return what `__reduce_ex__` of a parametrized module returns: its class before, and its state.

    It is None for one without parametrizations, which needs nothing.
    """
    return (_restored, stated(module)) if "parametrizations" in module.__dict__.get("_modules", {}) else None


def _restored(kind: type[nn.Module], state: dict[str, Any]) -> nn.Module:
    module: nn.Module = object.__new__(kind)
    module.__setstate__(state)
    parametrize._inject_new_class(module)
    for name in module._modules["parametrizations"]._modules:  # type: ignore[union-attr]
        parametrize._inject_property(module, name)
    return module
