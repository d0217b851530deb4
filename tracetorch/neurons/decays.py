"""Time constants: three ways to say one thing, fixed or learned, and kept in their valid range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


@dataclass(frozen=True)
class Learnable:
    """Mark a decay or a threshold as learned.

    Args:
        value: start value, a number or a tensor of the units' shape, in the unit of the argument it stands for.
        shape: the units' shape where `value` is a number and each neuron learns its own; empty to share one.

    Example:
        >>> import tracetorch as tt
        >>> tt.LIF(half_life=tt.Learnable(10.0, shape=(3,))).beta.shape
        torch.Size([3])
    """

    value: float | Tensor
    shape: tuple[int, ...] | int = ()

    def tensor(self) -> Tensor:
        """Return the start value as a tensor of its final shape."""
        value = torch.as_tensor(self.value, dtype=None if isinstance(self.value, Tensor) else torch.get_default_dtype())
        shape = (self.shape,) if isinstance(self.shape, int) else self.shape
        return value.expand(shape).clone() if shape else value.clone()


Value: TypeAlias = float | Tensor | Learnable


class Decay(TypedDict, total=False):
    """Say a decay per step as exactly one of `half_life` (steps), `tau` (steps) or `beta`."""

    half_life: Value
    tau: Value
    beta: Value


class UnitInterval(nn.Module):
    """Keep a parameter in (0, 1) by the logistic function."""

    def forward(self, raw: Tensor) -> Tensor:
        """Return the value in (0, 1)."""
        return torch.sigmoid(raw)

    def right_inverse(self, value: Tensor) -> Tensor:
        """Return the raw parameter of a value in (0, 1)."""
        return torch.logit(value)


class Positive(nn.Module):
    """Keep a parameter above zero by the softplus function."""

    def forward(self, raw: Tensor) -> Tensor:
        """Return the positive value."""
        return nn.functional.softplus(raw)

    def right_inverse(self, value: Tensor) -> Tensor:
        """Return the raw parameter of a positive value."""
        return value + torch.log(-torch.expm1(-value))


def half_life(beta: Tensor) -> Tensor:
    r"""Convert a decay per step into a half-life.

    .. math:: t_{1/2} = -\ln 2 / \ln \beta

    Args:
        beta: decay per step, in (0, 1), of any shape.

    Returns:
        The number of steps after which half is left, same shape.

    Example:
        >>> import torch, tracetorch as tt
        >>> tt.half_life(torch.tensor(0.5))
        tensor(1.)
    """
    return -math.log(2) / torch.log(beta)


def tau(beta: Tensor) -> Tensor:
    r"""Convert a decay per step into a time constant.

    .. math:: \tau = -1 / \ln \beta

    Args:
        beta: decay per step, in (0, 1), of any shape.

    Returns:
        The number of steps after which 1/e is left, same shape.

    Example:
        >>> import math, torch, tracetorch as tt
        >>> tt.tau(torch.tensor(math.exp(-0.5)))
        tensor(2.)
    """
    return -1 / torch.log(beta)


def set_decay(module: nn.Module, name: str, decay: Decay, *, prefix: str = "") -> None:
    """Register a decay per step on a module, as a buffer or as a parameter kept in (0, 1).

    Args:
        module: the neuron that gets the attribute.
        name: the attribute's name.
        decay: exactly one of half_life, tau and beta, a number, tensor or `Learnable`.
        prefix: what stands before `half_life` and the others in the caller's argument names, for messages.

    Raises:
        ValueError: if not exactly one is given, or a value is outside its range.
        TypeError: if another name is given.
    """
    names = {"half_life", "tau", "beta"}
    unknown = set(decay) - names
    if unknown:
        raise TypeError(f"{type(module).__name__} got an unexpected argument {prefix}{sorted(unknown)[0]!r}")
    given = {key: value for key, value in decay.items() if value is not None}
    if len(given) != 1:
        wanted = ", ".join(f"{prefix}{n}" for n in ("half_life", "tau", "beta"))
        raise ValueError(f"{type(module).__name__} needs exactly one of {wanted}; got {sorted(given) or 'none'}")
    ((kind, value),) = given.items()
    learned = isinstance(value, Learnable)
    raw = value.tensor() if isinstance(value, Learnable) else _tensor(value)
    if kind == "beta":
        if not bool(((raw > 0) & (raw < 1)).all()):
            raise ValueError(f"{prefix}beta must lie in (0, 1), got {value!r}; tt.IF has no leak")
        beta = raw
    else:
        if not bool((raw > 0).all()):
            raise ValueError(f"{prefix}{kind} must be a positive number of steps, got {value!r}")
        beta = torch.exp(-(math.log(2) if kind == "half_life" else 1.0) / raw)
    _register(module, name, beta, UnitInterval() if learned else None)


def set_positive(module: nn.Module, name: str, value: Value) -> None:
    """Register a positive value on a module, as a buffer or as a parameter kept above zero.

    Args:
        module: the neuron that gets the attribute.
        name: the attribute's name.
        value: a number, tensor or `Learnable`, in the unit of the membrane.

    Raises:
        ValueError: if a value is not above zero.
    """
    raw = value.tensor() if isinstance(value, Learnable) else _tensor(value)
    if not bool((raw > 0).all()):
        raise ValueError(f"{name} must be above zero, got {value!r}")
    _register(module, name, raw, Positive() if isinstance(value, Learnable) else None)


def _tensor(value: object) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return torch.as_tensor(value, dtype=torch.get_default_dtype())


def _register(module: nn.Module, name: str, value: Tensor, constraint: nn.Module | None) -> None:
    if constraint is None:
        module.register_buffer(name, value)
        return
    module.register_parameter(name, nn.Parameter(value))
    parametrize.register_parametrization(module, name, constraint)
