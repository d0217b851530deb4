"""Which adapter serves which kind of module."""

from __future__ import annotations

from torch import nn

from tracetorch.synapses.base import Synapse
from tracetorch.synapses.effective import require_materialised
from tracetorch.synapses.timed import TimedSynapse

_ADAPTERS: dict[type[nn.Module], type[Synapse]] = {}
_METHODS: dict[type[nn.Module], list[object]] = {}


def register_synapse(module_type: type[nn.Module], adapter: type[Synapse]) -> None:
    """Register the adapter through which traces see a kind of module; a later registration replaces an earlier one.

    The adapter serves the type itself and those of its subclasses that do not override what `adapter.computed_by`
    names.

    Args:
        module_type: the type of the modules.
        adapter: the adapter, a subclass of `tracetorch.synapses.Synapse`; it is called with the module.

    Raises:
        TypeError: if the types are not such types.

    Example:
        >>> import torch, tracetorch as tt
        >>> from tracetorch.synapses import LinearSynapse
        >>> class Masked(torch.nn.Linear):
        ...     def __init__(self, mask):
        ...         super().__init__(mask.shape[1], mask.shape[0])
        ...         self.register_buffer("mask", mask)
        ...     def forward(self, x):
        ...         return torch.nn.functional.linear(x, self.weight * self.mask, self.bias)
        >>> class MaskedSynapse(LinearSynapse):
        ...     def weights(self):
        ...         return (self.module.weight * self.module.mask,)
        >>> tt.register_synapse(Masked, MaskedSynapse)
        >>> tt.Layer(Masked(torch.eye(3)), tt.LIF(half_life=5))(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """
    if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
        raise TypeError(f"module_type must be a subclass of nn.Module, got {module_type!r}")
    if not (isinstance(adapter, type) and issubclass(adapter, Synapse)):
        raise TypeError(f"adapter must be a subclass of tracetorch.synapses.Synapse, got {adapter!r}")
    _ADAPTERS[module_type] = adapter
    _METHODS[module_type] = [getattr(module_type, name) for name in adapter.computed_by]


def synapse_of(module: nn.Module | None) -> Synapse:
    """Return the adapter through which traces see a module.

    Raise TypeError where the module is of no registered kind or computes its output otherwise than its registered base
    does, ValueError where the adapter does not serve the module as it is.
    """
    if not isinstance(module, nn.Module):
        remedy = f"write {module.__name__}(...)" if isinstance(module, type) else "write nn.Linear(n_in, n_out)"
        raise TypeError(f"a synapse is a module such as nn.Linear(n_in, n_out), got {module!r}; {remedy}")
    kind = type(module)
    for base in kind.__mro__:
        adapter = _ADAPTERS.get(base)
        if adapter is None:
            continue
        methods = zip(adapter.computed_by, _METHODS[base], strict=True)
        overridden = [name for name, method in methods if getattr(kind, name) is not method]
        if overridden:
            raise TypeError(
                f"{kind.__name__} has its own {overridden[0]}, which traces for nn.{base.__name__} would pass over; "
                f"write its effective weight as a parametrization (torch.nn.utils.parametrize), declare it with "
                f"tt.LinearInWeights(module), or register an adapter with tt.register_synapse({kind.__name__}, adapter)"
            )
        require_materialised(module)
        return adapter(module)
    known = ", ".join(f"nn.{k.__name__}" for k in _ADAPTERS if k.__module__.startswith("torch.nn"))
    raise TypeError(
        f"a synapse is one of {known} or tt.LinearInWeights(module), got {kind.__module__}.{kind.__name__}; wrap a "
        f"module that is linear in its weights in tt.LinearInWeights, or register an adapter with "
        f"tt.register_synapse({kind.__name__}, adapter)"
    )


def adapters(
    known: tuple[Synapse, ...], modules: tuple[nn.Module | None, ...], currents: tuple[str, ...] = ("i",)
) -> tuple[Synapse, ...]:
    """Return the adapters of a layer's modules as they are now: `known` itself where no module was replaced.

    A current named `dt` is the time since the step before, which no synapse gives.
    """
    present = [*modules[:1], *(m for m in modules[1:] if m is not None)]
    same = len(known) == len(present)
    if same and all(a.module is m and a.currents == currents for a, m in zip(known, present, strict=True)):
        return known
    timed = currents == TimedSynapse.currents
    found = [synapse_of(m).serving(1 if timed else len(currents)) for m in present]
    if any(not s.shared for s in found[1:]):
        raise TypeError("tt.BatchNormed normalises what a layer is fed with; a recurrent synapse is plain")
    if timed:
        found = [TimedSynapse(s, fill=1.0 if s is found[0] else 0.0) for s in found]
    for synapse in found:
        synapse.currents = currents
    return tuple(found)
