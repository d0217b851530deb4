"""What a neuron's step may depend on besides tensors, as a key under which its lowered form is shared."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tracetorch.neurons.binding import tensor_names

_PLAIN = (type(None), bool, int, float, complex, str, bytes, enum.Enum, torch.dtype, torch.device)
_VALUES = (bool, int, float, complex, tuple)
_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_OWN = frozenset(vars(nn.Module())) - {"training"}
_DEEPEST = 4


class _Same:
    """Compare an object by identity."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value


def configuration(module: nn.Module) -> tuple[tuple[Any, ...], bool]:
    """Return what a module's code may read besides tensors, as a key that is equal where modules compute the same.

    Also whether it can only change by an assignment to an attribute, as all values in it are immutable.
    """
    kind = type(module).__mro__[1] if parametrize.is_parametrized(module) else type(module)
    parts: list[Any] = [kind, tensor_names(module)]
    parts += [(name, _key(value)[0]) for _, name, value in reads(kind)]
    settled = True
    for name, value in sorted(vars(module).items()):
        if name not in _OWN and not name.startswith("_lowered") and not (name == "training" and _of_library(kind)):
            key, fixed = _key(value)
            parts.append((name, key))
            settled = settled and fixed
    for name, child in module._modules.items():
        if child is not None and name != "parametrizations":
            key, fixed = configuration(child)
            parts.append((name, key))
            settled = settled and fixed
    return tuple(parts), settled


def _of_library(kind: type) -> bool:
    """Return whether a class is none of a user's own: its steps read no values but those of their module."""
    return kind.__module__.partition(".")[0] in ("tracetorch", "torch", "builtins")


def reads(kind: type) -> list[tuple[Mapping[str, Any], str, Any]]:
    """Return the plain values outside of a module that its code may read: of its classes, and global ones.

    They are where each stands, its name, and the value now; classes of this library read none.
    """
    found: list[tuple[Mapping[str, Any], str, Any]] = []
    for cls in kind.__mro__:
        if _of_library(cls):
            continue
        space = vars(cls)
        for name, value in space.items():
            if isinstance(value, types.FunctionType):
                outer = value.__globals__
                named = [n for n in value.__code__.co_names if n in outer]
                found += [(outer, n, outer[n]) for n in named if isinstance(outer[n], _VALUES)]
            elif isinstance(value, _VALUES) and not name.startswith("__"):
                found.append((space, name, value))
    return found


def _key(value: Any, depth: int = 0) -> tuple[Any, bool]:
    """Return a hashable key of a value, and whether the value is immutable."""
    kind = type(value)
    if isinstance(value, _PLAIN):
        return (kind, repr(value) if isinstance(value, float | complex) else value), True
    if isinstance(value, _CODE):
        return value, True
    if isinstance(value, Tensor) or depth == _DEEPEST:
        return _Same(value), False
    if kind is tuple:
        keys = [_key(v, depth + 1) for v in value]
        return (kind, *(k for k, _ in keys)), all(fixed for _, fixed in keys)
    if isinstance(value, list | tuple | set | frozenset):
        return (kind, *(_key(v, depth + 1)[0] for v in value)), False
    if isinstance(value, Mapping):
        return (kind, *((_key(k, depth + 1)[0], _key(v, depth + 1)[0]) for k, v in value.items())), False
    if not hasattr(value, "__dict__") or isinstance(value, nn.Module):
        return _Same(value), False
    held = [(name, *_key(v, depth + 1)) for name, v in sorted(vars(value).items())]
    frozen = _is_frozen(value) and all(fixed for _, _, fixed in held)
    return (kind, *((name, key) for name, key, _ in held)), frozen


def _is_frozen(value: Any) -> bool:
    """Return whether a value is of a frozen dataclass that declares all its fields, so that none can change."""
    declared = vars(type(value)).get("__dataclass_params__")
    return (
        declared is not None
        and declared.frozen
        and is_dataclass(value)
        and vars(value).keys() <= {f.name for f in fields(value)}
    )
