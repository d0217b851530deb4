"""Run a module with other values instead of its parameters, without touching the module."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from functools import reduce
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

M = TypeVar("M", bound=nn.Module)


def effective_parameters(module: nn.Module) -> dict[str, Tensor]:
    """Return the values of a module's learned parameters, as its code sees them, by dotted name.

    A parametrized parameter appears once, under its own name, with the value after its parametrization and
    with the graph that leads back to the raw one. Parameters that need no gradient are left out.
    """
    found: dict[str, Tensor] = {}
    if not module._parameters and not module._modules:
        return found
    for name, value in module._parameters.items():
        if value is not None and value.requires_grad:
            found[name] = value
    if parametrize.is_parametrized(module):
        for name, raw in module.parametrizations.items():  # type: ignore[union-attr, operator]
            if any(p.requires_grad for p in raw.parameters()):
                found[name] = getattr(module, name)
    for name, child in module._modules.items():
        if child is not None and name != "parametrizations":
            found.update({f"{name}.{key}": value for key, value in effective_parameters(child).items()})
    return found


def tensor_names(module: nn.Module) -> tuple[str, ...]:
    """Return the dotted names under which a module's code sees its floating-point parameters and buffers, sorted."""
    tables: list[Mapping[str, Tensor | None]] = [module._parameters, module._buffers]
    names = [n for table in tables for n, t in table.items() if t is not None and t.is_floating_point()]
    if parametrize.is_parametrized(module):
        names += module.parametrizations.keys()  # type: ignore[union-attr, operator]
    for head, child in module._modules.items():
        if child is not None and head != "parametrizations":
            names += [f"{head}.{name}" for name in tensor_names(child)]
    return tuple(sorted(names))


def tensor_values(module: nn.Module, *, but: Container[str] = ()) -> dict[str, Tensor]:
    """Return a module's floating-point parameters and buffers as its code sees them, by dotted name, but for some."""
    return {n: reduce(getattr, n.split("."), module) for n in tensor_names(module) if n not in but}  # type: ignore[misc]


def unit_shape(values: Iterable[Tensor]) -> torch.Size:
    """Return the shape that values per unit have together, `[1]` for none.

    `torch.broadcast_shapes` would import SymPy, which takes half a second.
    """
    shape: torch.Size = torch.broadcast_tensors(torch.empty(1), *(v.detach() for v in values))[0].shape
    return shape


def bind(module: M, values: Mapping[str, Tensor]) -> M:
    """Return a view of a module, of its own class, in which parameters have the given values, by dotted name.

    The view shares everything else with the module; the module itself is not touched, so this is safe under
    `torch.func` and costs no parametrization at every access.
    """
    constrained = bool(module._modules) and parametrize.is_parametrized(module)
    if not values and not constrained:
        return module
    kind = type(module).__mro__[1] if constrained else type(module)
    view: M = object.__new__(kind)
    view.__dict__.update(module.__dict__)
    modules = {name: child for name, child in module._modules.items() if name != "parametrizations"}
    children: dict[str, dict[str, Tensor]] = {}
    if constrained:
        names = module.parametrizations.keys()  # type: ignore[union-attr, operator]
        view.__dict__.update({name: getattr(module, name) for name in names if name not in values})
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if rest:
            children.setdefault(head, {})[rest] = value
        else:
            view.__dict__[name] = value
    for head, child in modules.items():
        if child is not None and (head in children or parametrize.is_parametrized(child)):
            modules[head] = bind(child, children.get(head, {}))
    view.__dict__["_modules"] = modules
    view.__dict__["_lowered_of"] = module.__dict__.get("_lowered_of", module)  # whose step the view runs
    return view
