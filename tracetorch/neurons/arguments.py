"""Messages for constructors that are called with arguments that they do not take."""

from __future__ import annotations

import inspect
import numbers
from typing import Any

from tracetorch.neurons.resets import HardReset, NoReset, Reset, SoftReset
from tracetorch.neurons.surrogates import ATan, Surrogate

REMEDIES = {
    "learn": "to learn a value, wrap it: half_life=tt.Learnable(20.0), threshold=tt.Learnable(1.0)",
    "surrogate": "write surrogate=tt.surrogates.ATan()",
    "grad": "write surrogate=tt.surrogates.ATan()",
    "reset": "write reset=tt.SoftReset(), tt.HardReset(value=0.0) or tt.NoReset()",
    "thresh": "write threshold=1.0",
    "tau": "write tau=20.0, in steps",
    "decay": "write half_life=20.0 (steps), tau=20.0 (steps) or beta=0.95 (per step)",
    "hidden": "leave it out: the layer keeps the state, and tt.reset(net) clears it",
    "step": "leave it out: net(x) is one step, tt.scan(net, xs) a window",
    "output": "leave it out: a readout is a layer with tt.LI",
}
"""Remedy for an unknown option, by a part of its name."""
_RESETS: dict[str, Reset] = {
    "zero": HardReset(),
    "hard": HardReset(),
    "subtract": SoftReset(),
    "soft": SoftReset(),
    "none": NoReset(),
}


class ConstructorSignature:
    """Signature of a class as that of its `__init__`, although a `__new__` checks the arguments first."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        signature = inspect.signature(owner.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])


def check_arguments(cls: type, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Raise TypeError, with the remedy, where a neuron's constructor does not take some arguments."""
    if not args and not options:
        return
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    kinds = {p.kind for p in parameters}
    names = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    name = cls.__name__
    if len(args) > len(places) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        value = args[len(places)]
        remedy = (
            f"write {name}(half_life={value!r})" if "half_life" in names else f"it has {', '.join(names) or 'none'}"
        )
        raise TypeError(f"{name} takes its options by name, got {value!r}; {remedy}")
    unknown = [n for n in options if n not in names]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        remedy = next((f"; {text}" for part, text in REMEDIES.items() if part in unknown[0]), "")
        raise TypeError(f"{name} has no option {unknown[0]!r}{remedy}. It has {', '.join(names) or 'none'}")


def surrogate_of(surrogate: Any) -> Surrogate:
    """Return the surrogate of a constructor's argument, `ATan()` for None; raise TypeError for anything else."""
    if surrogate is None:
        return ATan()
    if isinstance(surrogate, Surrogate):
        return surrogate
    if isinstance(surrogate, type) and issubclass(surrogate, Surrogate):
        remedy = f"write surrogate={surrogate.__name__}()"
    else:
        remedy = (
            "write one of tt.surrogates, such as surrogate=tt.surrogates.Sigmoid(4.0); for a derivative of your own, "
            "subclass tt.surrogates.Surrogate and define derivative(x)"
        )
    raise TypeError(f"surrogate must be a tt.surrogates.Surrogate, got {surrogate!r}; {remedy}")


def reset_of(reset: Any) -> Reset:
    """Return the reset of a constructor's argument, `SoftReset()` for None; raise TypeError for anything else."""
    if reset is None:
        return SoftReset()
    if isinstance(reset, Reset):
        return reset
    meant = _RESETS.get(reset) if isinstance(reset, str) else None
    if isinstance(reset, type) and issubclass(reset, Reset):
        remedy = f"write reset=tt.{reset.__name__}()"
    elif meant is not None:
        remedy = f"write reset=tt.{type(meant).__name__}()"
    else:
        remedy = "write reset=tt.SoftReset(), tt.HardReset(value=0.0) or tt.NoReset()"
    raise TypeError(f"reset must be a tt.SoftReset, tt.HardReset or tt.NoReset, got {reset!r}; {remedy}")


def refractory_of(steps: Any) -> int:
    """Return a number of silent steps; raise ValueError where it is not a whole number, 0 or more."""
    whole = isinstance(steps, numbers.Real) and not isinstance(steps, bool)
    if not whole or not 0 <= steps < float("inf") or steps != int(steps):
        raise ValueError(f"refractory must be a whole number of steps, 0 or more, got {steps!r}")
    return int(steps)


def switch(name: str, value: Any) -> bool:
    """Return a constructor's argument that is True or False; raise TypeError for anything else."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value
