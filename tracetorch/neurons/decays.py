"""Time constants as half-life, tau or decay per step, fixed or learned, and kept in their valid range."""

from __future__ import annotations

import math
import numbers
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ROUNDED = 0.01
"""Relative change of a half-life by the rounding of its decay from which on a warning says so."""


@dataclass(frozen=True)
class Learnable:
    """A decay or a threshold that is learned.

    What the optimizer moves is a raw value: the logit of a decay, the inverse softplus of a threshold. Weight decay
    pulls raw values to zero, so it pulls a decay per step to 0.5 (a half-life of one step) and a threshold to ln 2.
    Give the optimizer `tt.parameter_groups(net, weight_decay=...)`, which exempts neurons and biases from it.

    Args:
        value: start value, a number or a tensor `[*unit]`, in the unit of the argument it stands for.
        shape: the units' shape where `value` is a number and each neuron learns its own; empty to share one.

    Example:
        >>> import torch, tracetorch as tt
        >>> layer = tt.Layer(torch.nn.Linear(2, 3), tt.LIF(half_life=tt.Learnable(10.0, shape=(3,))))
        >>> before = layer.neuron.half_life.detach().clone()
        >>> [round(x, 3) for x in before.tolist()]
        [10.0, 10.0, 10.0]
        >>> optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
        >>> (1 - tt.scan(layer, torch.rand(50, 4, 2))).square().mean().backward()  # it should fire more
        >>> optimizer.step()
        >>> bool((layer.neuron.half_life != before).any())
        True
    """

    value: float | Tensor
    shape: tuple[int, ...] | int = ()

    def tensor(self) -> Tensor:
        """Return the start value as a tensor, `[*unit]` or `[]`."""
        return _number("tt.Learnable's value", self).tensor()


Value: TypeAlias = float | Tensor | Learnable


class Decay(NamedTuple):
    """A decay per step, as exactly one of `half_life` (steps to a half), `tau` (steps to 1/e) or `beta`, in (0, 1)."""

    half_life: Value | None = None
    tau: Value | None = None
    beta: Value | None = None

    def given(self) -> dict[str, Value]:
        """Return what is not None, by name."""
        return {kind: value for kind, value in self._asdict().items() if value is not None}


class UnitInterval(nn.Module):
    """Keep a parameter in (0, 1) by the logistic function."""

    def forward(self, raw: Tensor) -> Tensor:
        """Return the value in (0, 1), at most the number below one, to which the logistic function would round."""
        return torch.sigmoid(raw).clamp(max=1 - torch.finfo(raw.dtype).eps / 2)

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
        beta: decay per step, in (0, 1), `[...]`.

    Returns:
        The number of steps after which half is left, `[...]`.

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
        beta: decay per step, in (0, 1), `[...]`.

    Returns:
        The number of steps after which 1/e is left, `[...]`.

    Example:
        >>> import math, torch, tracetorch as tt
        >>> tt.tau(torch.tensor(math.exp(-0.5)))
        tensor(2.)
    """
    return -1 / torch.log(beta)


def set_decay(module: nn.Module, name: str, decay: Decay, *, prefix: str = "", hint: str = "") -> None:
    """Register a decay per step on a module, as a buffer or as a parameter kept in (0, 1).

    It is computed in double precision and rounded once. A warning says where the rounding changes the half-life by more
    than 1 %. In messages, `prefix` stands before half_life, tau and beta, and `hint` says what has no decay at all.
    """
    given = decay.given()
    if len(given) != 1:
        names = ", ".join(f"{prefix}{n}" for n in Decay._fields)
        raise ValueError(f"{type(module).__name__} needs exactly one of {names}; got {sorted(given) or 'none'}")
    ((kind, value),) = given.items()
    argument = f"{prefix}{kind}"
    number = _number(argument, value)
    scale = math.log(2) if kind == "half_life" else 1.0
    if kind == "beta":
        if not _all((number.exact > 0) & (number.exact < 1)):
            raise ValueError(f"{argument} must lie between 0 and 1, both excluded, got {shown(value)}{hint}")
        exact = number.exact
        rise = 1 - exact
    else:
        if not _all((number.exact > 0) & torch.isfinite(number.exact)):
            raise ValueError(f"{argument} must be a positive, finite number of steps, got {shown(value)}{hint}")
        rise = -torch.expm1(-scale / number.exact)
        # Near one the exponential of some processors is off by its last bit.
        exact = torch.where(rise < 2**-26, 1 - rise, torch.exp(-scale / number.exact))
    beta = exact.to(number.dtype)
    if not _all(beta < 1):
        most = 1 - torch.finfo(number.dtype).eps / 2 if kind == "beta" else longest(number.dtype, scale=scale)
        raise ValueError(
            f"{argument}={shown(value)} is too long for {number.dtype}, in which its decay per step rounds to 1; the "
            f"largest is {most:.8g}{hint}. A network in double precision takes longer ones, as a tensor: "
            f"{argument}=torch.tensor(..., dtype=torch.float64)"
        )
    if not _all(beta > 0):
        raise ValueError(f"{argument}={shown(value)} is so short that its decay per step is 0 in {number.dtype}")
    off = (((1 - beta.double()) / rise) - 1).abs()
    if not _all(off <= ROUNDED):
        warnings.warn(
            f"{argument}={shown(value)} is off by {float(off.max()):.1%} in {number.dtype}, as the decay per step "
            f"rounds; double precision holds it: {argument}=torch.tensor(..., dtype=torch.float64)",
            stacklevel=2,
        )
    _register(module, name, beta, UnitInterval() if isinstance(value, Learnable) else None, argument)


def longest(dtype: torch.dtype, *, scale: float = math.log(2)) -> float:
    """Return the longest half-life (with `scale=1`, time constant), in steps, whose decay is below one in a type."""
    # From halfway between one and the number below it, `1 - eps / 2`, a decay rounds up.
    return -scale / math.log1p(-torch.finfo(dtype).eps / 4) * (1 - 1e-9)


def set_positive(module: nn.Module, name: str, value: Value) -> None:
    """Register a positive value on a module, as a buffer or as a parameter kept above zero."""
    number = _number(name, value)
    if not _all((number.exact > 0) & torch.isfinite(number.exact)):
        raise ValueError(f"{name} must be above zero and finite, got {shown(value)}")
    _register(module, name, number.tensor(), Positive() if isinstance(value, Learnable) else None, name)


def set_value(module: nn.Module, name: str, value: Value) -> None:
    """Register a finite value on a module, as a buffer or as a parameter."""
    number = _number(name, value)
    if not _all(torch.isfinite(number.exact)):
        raise ValueError(f"{name} must be finite, got {shown(value)}")
    if isinstance(value, Learnable):
        module.register_parameter(name, nn.Parameter(number.tensor()))
        _note(module, name, name)
    else:
        _register(module, name, number.tensor(), None, name)


def arguments_of(module: nn.Module) -> dict[str, str]:
    """Return the attributes of a module that are values per unit, each with the argument that it was made of."""
    return dict(getattr(module, "_arguments", ()))


def decay_prefix(argument: str) -> str | None:
    """Return what stands before `half_life`, `tau` or `beta` in an argument's name; None for another argument."""
    return next((argument.removesuffix(kind) for kind in Decay._fields if argument.endswith(kind)), None)


def shown(value: object) -> str:
    """Return an argument as a message shows it: a tensor of many numbers by its shape and its bounds."""
    if isinstance(value, Learnable):
        return f"Learnable({shown(value.value)})"
    if not isinstance(value, Tensor) or value.is_meta or value.numel() == 0 or value.is_complex():
        return repr(value)
    flat = value.detach().double().flatten()
    least, most = (f"{float(x):.5g}" for x in (flat.amin(), flat.amax()))
    span = least if least == most else f"{least} to {most}"
    return span if value.dim() == 0 else f"{span} (shape {list(value.shape)})"


class _Number(NamedTuple):
    """A constructor's argument: its value in double precision, and the type that it is to have."""

    exact: Tensor
    dtype: torch.dtype

    def tensor(self) -> Tensor:
        return self.exact.to(self.dtype, copy=True)


def _number(name: str, value: Value) -> _Number:
    """Return a constructor's argument as a number; `name` is the argument's, for messages."""
    if isinstance(value, Learnable):
        if isinstance(value.value, Learnable):
            raise TypeError(f"{name} is a tt.Learnable within a tt.Learnable; give it a number or a tensor")
        start = value.value.detach() if isinstance(value.value, Tensor) else value.value
        number = _number(name, start)
        shape = (value.shape,) if isinstance(value.shape, int) else tuple(value.shape)
        return number._replace(exact=number.exact.expand(shape)) if shape else number
    if isinstance(value, Tensor) and value.requires_grad:
        kind = "an nn.Parameter" if isinstance(value, nn.Parameter) else "a tensor that needs a gradient"
        raise TypeError(
            f"{name} is {kind} of shape {list(value.shape)}, which would not learn: pass "
            f"{name}=tt.Learnable(value), and optimise the neuron's parameters"
        )
    if isinstance(value, Tensor) and not (value.is_complex() or value.dtype == torch.bool):
        dtype = value.dtype if value.is_floating_point() else torch.get_default_dtype()
        start = value.detach()
        return _Number((start.cpu() if start.device.type == "mps" else start).double(), dtype)  # MPS has no doubles
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        remedy = f"; write torch.tensor({value!r})" if isinstance(value, list | tuple) else ""
        raise TypeError(
            f"{name} must be a number, a tensor of one number per unit, or tt.Learnable(number), got {value!r}{remedy}"
        )
    return _Number(torch.tensor(float(value), dtype=torch.float64), torch.get_default_dtype())


def _all(condition: Tensor) -> bool:
    return condition.is_meta or bool(condition.all())


def _register(module: nn.Module, name: str, value: Tensor, constraint: nn.Module | None, argument: str) -> None:
    if constraint is None:
        module.register_buffer(name, value)
    else:
        module.register_parameter(name, nn.Parameter(value))
        parametrize.register_parametrization(module, name, constraint)
    _note(module, name, argument)


def _note(module: nn.Module, name: str, argument: str) -> None:
    known: tuple[Any, ...] = tuple((n, a) for n, a in getattr(module, "_arguments", ()) if n != name)
    module._arguments = (*known, (name, argument))  # type: ignore[assignment]
