"""A module's weights as they are now: parameters, parametrized ones, and those that hooks make before each forward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


def effective_weight(module: nn.Module) -> Tensor:
    """Return the weight of a module with its graph.

    A hook that makes the weight before each forward (`torch.nn.utils.prune`, `torch.nn.utils.weight_norm`) is not
    called, as traces do not call the module: its weight is computed here instead.
    """
    found = _effective(module, "weight")
    if found is None:
        raise TypeError(f"{type(module).__name__} has no weight")
    return found


def effective_bias(module: nn.Module) -> Tensor | None:
    """Return the bias of a module, as `effective_weight` returns its weight; None without."""
    return _effective(module, "bias")


def set_effective(module: nn.Module, name: str, value: Tensor) -> None:
    """Set a module's weight or bias to a value, through its parametrization where it has one.

    One that a hook makes before each forward cannot be set: TypeError. A parametrization may refuse it: ValueError.
    """
    own = module._parameters.get(name)
    if own is not None:
        own.copy_(value)
    elif parametrize.is_parametrized(module, name):
        setattr(module, name, value)
        if not torch.allclose(getattr(module, name), value, rtol=1e-3, atol=1e-6 * float(value.abs().max())):
            raise ValueError(
                f"the {name} of {type(module).__name__} cannot be scaled: its parametrization gives another value than "
                f"the one that it is set to; do this before it is registered"
            )
    else:
        raise TypeError(
            f"the {name} of {type(module).__name__} is made by a hook (torch.nn.utils.prune, weight_norm) and cannot "
            f"be set; do this before the hook is registered"
        )


def _effective(module: nn.Module, name: str) -> Tensor | None:
    own = module._parameters.get(name)
    if own is not None:
        return own
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            pruned: Tensor = hook.apply_mask(module)
            return pruned
        if isinstance(hook, WeightNorm) and hook.name == name:
            normed: Tensor = hook.compute_weight(module)
            return normed
    called = parametrize._cache_enabled or "parametrizations" not in module._modules or torch.compiler.is_compiling()
    with nullcontext() if called else as_they_are(module):
        found: Tensor | None = getattr(module, name, None)
    return found


@contextmanager
def as_they_are(module: nn.Module) -> Iterator[None]:
    """Evaluate a module's parametrizations in evaluation mode, where weights are only looked at.

    Else whoever saves or restores a state, sets a rule or measures rates would change those that training changes at
    each evaluation (spectral normalisation).
    """
    lists = [one for one in module.modules() if isinstance(one, parametrize.ParametrizationList)]
    training = [m for one in lists for m in one.modules() if m.training]
    for one in training:
        one.training = False
    try:
        yield
    finally:
        for one in training:
            one.training = True


def evaluated_once(*modules: nn.Module | None) -> AbstractContextManager[object]:
    """Return a context in which parametrizations of modules are computed once.

    Each access computes a parametrization again, and some change in training at each (spectral normalisation): one call
    of a layer has to see one weight.
    """
    parametrized = any(m is not None and "parametrizations" in m._modules for m in modules)
    if parametrized and not torch.compiler.is_compiling():
        return parametrize.cached()
    return nullcontext()


def require_materialised(module: nn.Module) -> None:
    """Raise ValueError where a module, or one inside it, waits for its first input to make its weights."""
    for name, p in module.named_parameters():
        if is_lazy(p):
            raise ValueError(
                f"{type(module).__name__} makes its {name} at its first input, and a layer needs it before; call "
                f"module(x) once on an input of the right shape, or give the number of inputs"
            )


def require_values(weight: Tensor) -> None:
    """Raise RuntimeError where a weight has no values yet."""
    if weight.is_meta:
        raise RuntimeError(
            "the layer's weights are on the meta device and have no values; give the network memory with "
            "net.to_empty(device=...) and load its values before the first step"
        )


def require_no_hooks(module: nn.Module) -> None:
    """Raise TypeError where a module has hooks that traces would pass over, as they do not call the module."""
    if not (module._forward_pre_hooks or module._forward_hooks or module._backward_hooks or module._backward_pre_hooks):
        return
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm):
            raise TypeError(
                f"{type(module).__name__} has its {hook.name} made by the hook of torch.nn.utils.spectral_norm, which "
                f"a layer does not call; use torch.nn.utils.parametrizations.spectral_norm(module)"
            )
        if not isinstance(hook, BasePruningMethod | WeightNorm):
            raise TypeError(
                f"{type(module).__name__} has a forward pre-hook ({hook!r}), which a layer does not call: it computes "
                f"with the weights; make weights by a parametrization (torch.nn.utils.parametrize), and register "
                f"hooks on the layer"
            )
    if module._forward_hooks or module._backward_hooks or module._backward_pre_hooks:
        raise TypeError(
            f"{type(module).__name__} has hooks, which a layer does not call: it computes with the module's weights; "
            f"register hooks on the layer"
        )
