"""The neuron: element-wise dynamics, written once as a step, on which every rule works."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from tracetorch.neurons.arguments import ConstructorSignature, check_arguments, surrogate_of
from tracetorch.neurons.blocks import Blocks, generic_blocks
from tracetorch.neurons.decays import (
    Decay,
    Value,
    arguments_of,
    decay_prefix,
    half_life,
    longest,
    set_decay,
    set_positive,
    shown,
)
from tracetorch.neurons.lowering import Lowered, NotLowered, blocks_of, constant_of, program_of
from tracetorch.neurons.pickling import pickled, stated
from tracetorch.neurons.surrogates import Surrogate

Constant = tuple[Tensor, Tensor]
"""The blocks A, `[S, S]`, and B, `[S]`, of a neuron in which they are the same for all units and steps."""

_TYPES: dict[tuple[str, ...], Any] = {}  # a table, as torch.compile looks into it and warns of functools.cache


def state_type(names: tuple[str, ...]) -> Any:
    """Return the named tuple that holds a neuron's state, with `replace` to change some of it."""
    found = _TYPES.get(names)
    if found is None:
        base = namedtuple("State", names)  # type: ignore[misc]
        found = type("State", (base,), {"__slots__": (), "replace": base._replace})
        if not torch.compiler.is_compiling():
            _TYPES[names] = found
    return found


class Neuron(nn.Module):
    r"""A neuron, written as its element-wise step :math:`(s_t, z_t) = \mathrm{step}(s_{t-1}, I_t; \varphi)`.

    A subclass names its state and writes `step`. Everything else derives from the step: its Jacobian blocks, whether
    they are constant, and its code in compiled kernels, so that every rule works on it. Nothing in the step may mix
    units or samples (`tracetorch.testing` has a check).

    Args:
        threshold: `theta`, in the unit of the membrane; a number, a tensor per unit, or `Learnable`.
        surrogate: stand-in for the derivative of the spike; `ATan()` by default.
        half_life: steps after which half of the membrane is left, as `beta`; a number, a tensor per unit, or
            `Learnable`. Give at most one of `half_life`, `tau` and `beta`.
        tau: steps after which 1/e of the membrane is left.
        beta: decay of the membrane per step, in (0, 1).

    Raises:
        ValueError: if a value is out of range, or more than one decay is given.
        TypeError: if an argument is of another kind, or one that the neuron does not take.

    Example:
        >>> import torch, tracetorch as tt
        >>> class Adaptive(tt.Neuron):
        ...     state = ("v", "a")
        ...     def step(self, s, current):
        ...         v = self.beta * s.v + current
        ...         z = self.surrogate(v - self.threshold - 0.3 * s.a)
        ...         return s.replace(v=v - z * self.threshold, a=0.95 * s.a + z), z
        >>> layer = tt.Layer(torch.nn.Linear(3, 4), Adaptive(half_life=10))
        >>> layer(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    state: ClassVar[tuple[str, ...]] = ("v",)
    """Names of the state variables, each `[B, *unit]` and zero after a reset."""
    counters: tuple[str, ...] = ()
    """Names of variables that are carried without a gradient."""
    currents: tuple[str, ...] = ("i",)
    """Names of the input currents per unit; where there are several, C, the synapse is `nn.Linear(n_in, C * N)` for N
    units, or a module that gives `[B, C, *unit]`, and `step` gets a named tuple of them, `[B, *unit]` each."""
    threshold: Tensor
    beta: Tensor
    __signature__ = ConstructorSignature()

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Return a bare neuron, or raise TypeError with the remedy where `__init__` does not take the arguments."""
        check_arguments(cls, args, options)
        return super().__new__(cls)

    def __init__(
        self,
        *,
        threshold: Value = 1.0,
        surrogate: Surrogate | None = None,
        half_life: Value | None = None,
        tau: Value | None = None,
        beta: Value | None = None,
    ) -> None:
        super().__init__()
        set_positive(self, "threshold", threshold)
        self.surrogate = surrogate_of(surrogate)
        decay = Decay(half_life, tau, beta)
        if decay.given():
            set_decay(self, "beta", decay)

    @abstractmethod
    def step(self, s: Any, current: Tensor) -> tuple[Any, Tensor]:
        """Advance by one time step.

        Args:
            s: the state, a named tuple of tensors `[..., *unit]`.
            current: input current, `[..., *unit]`.

        Returns:
            The next state and the output `z`, `[..., *unit]`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define step(self, s, current)")

    def forward(self, s: Any, current: Tensor | None = None) -> tuple[Any, Tensor]:
        """Advance by one time step; see `step`.

        Args:
            s: the state, a named tuple of tensors `[..., *unit]`.
            current: input current, `[..., *unit]`.

        Returns:
            The next state and the output `z`, `[..., *unit]`.
        """
        if current is None:
            name = self._get_name()
            raise TypeError(
                f"{name} is called with one argument: a neuron is no module for nn.Sequential by itself, as it has no "
                f"state of its own. Put it into a layer with its synapse: tt.Layer(nn.Linear(n_in, n_out), "
                f"tt.{name}(...)); or advance it by hand: state, z = neuron.step(state, current)"
            )
        return self.step(s, current)

    def pack(self, values: tuple[Tensor, ...]) -> Any:
        """Return the named state made of tensors.

        Args:
            values: tensors in the order of `state` and `counters`, `[..., *unit]` each.

        Returns:
            A named tuple with `replace`.
        """
        names = (*self.state, *self.counters)
        return (_TYPES.get(names) or state_type(names))(*values)

    def pack_currents(self, values: Sequence[Tensor]) -> Any:
        """Return what `step` takes as its current: the only one, or a named tuple in the order of `currents`."""
        return values[0] if len(self.currents) == 1 else state_type(self.currents)(*values)

    def zeros(self, like: Tensor) -> tuple[Tensor, ...]:
        """Return the state after a reset, for currents of the shape, dtype and device of `like`.

        Args:
            like: currents of one step, `[B, *unit]`.

        Returns:
            Zeros, `[B, *unit]`, one tensor for each of `state` and `counters`.

        Raises:
            ValueError: if a half-life, threshold or other value per unit has another shape than the units.
        """
        unit = like.shape[1:] if like.dim() > 1 else like.shape
        for name, argument in arguments_of(self).items():
            shape = getattr(self, name).shape
            if len(shape) > len(unit) or any(
                a not in (1, b) for a, b in zip(reversed(shape), reversed(unit), strict=False)
            ):
                raise ValueError(
                    f"{argument} of {self._get_name()} has the shape {list(shape)}, but the layer's units have "
                    f"{list(unit)}: give one number, or a tensor that broadcasts to the units (for a convolution "
                    f"[channels, 1, 1])"
                )
        return tuple(torch.zeros_like(like) for _ in (*self.state, *self.counters))

    def blocks(self, s: tuple[Tensor, ...], current: Tensor, params: Mapping[str, Tensor]) -> Blocks:
        """Return the Jacobian blocks of the step at given states and currents.

        Args:
            s: states and counters before each step, `[T, B, *unit]` each.
            current: input currents, `[T, B, *unit]`, or `[T, B, C, *unit]` where the neuron takes several.
            params: values by name of the parameters to differentiate with respect to.

        Returns:
            The blocks: those of the lowered step, or where it cannot be lowered those that `torch.func` takes.
        """
        found = blocks_of(self, tuple(params))
        if found is None:
            return generic_blocks(self, s, current, params)
        names, blocks = found
        values = [(params[n] if n in params else attrgetter(n)(self)).detach() for n in names]
        size = len(self.state)
        drive = current if len(self.currents) == 1 else current.unbind(2)
        return blocks(s[:size], s[size:], drive, values)  # type: ignore[no-any-return]

    def is_constant(self, *, detach_reset: bool = False, shared: bool = True) -> bool:
        """Return whether `constant` returns blocks; `shared=False`: whether it would, but for values of each unit."""
        found = constant_of(self, detach_reset=detach_reset)
        return found is not None and (not shared or all(attrgetter(n)(self).numel() == 1 for n in found[0]))

    def constant(self, *, detach_reset: bool = False) -> Constant | None:
        """Return the blocks A and B where they are constant in time and shared by all units.

        This is what a presynaptic trace can represent exactly. They are constant where the lowered step has them as
        expressions of parameters alone, and shared where each of these parameters is one number.

        Args:
            detach_reset: leave out the derivative that runs through a spike into the reset: that of the neuron's
                attribute `reset`, such as `tt.SoftReset`. What else a step does with a spike is no reset.

        Returns:
            A, `[S, S]`, and B, `[S]`, or None where they vary, or the step cannot be lowered.
        """
        found = constant_of(self, detach_reset=detach_reset)
        if found is None or not self.is_constant(detach_reset=detach_reset):
            return None
        names, blocks = found
        values = [attrgetter(n)(self).detach() for n in names]
        return blocks(values, values[0] if values else _like(self))  # type: ignore[no-any-return]

    def lowered(self) -> Lowered | NotLowered:
        """Return the step as one list of scalar assignments with all its derivatives, or the reason why there is none.

        The step is traced once for all neurons of the same configuration: class, surrogate, reset and options. What
        cannot be lowered runs through `step` and `torch.func`.

        Returns:
            The program.

        Example:
            >>> import tracetorch as tt
            >>> tt.LIF(half_life=20).lowered().parameters
            ('beta', 'threshold')
        """
        return program_of(self)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__.pop("_lowered", None)
        super().__setattr__(name, value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        reduced = pickled(self)
        return super().__reduce_ex__(protocol) if reduced is None else reduced

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # torch's own, for parametrized modules, copies the lowered step too, which refers to the class.
        kind, state = stated(self)
        replica = memo[id(self)] = object.__new__(type(self))
        kind.__setstate__(replica, copy.deepcopy(state, memo))
        return replica

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lowered"}

    @property
    def decay(self) -> Tensor | None:
        """The membrane's decay per step, a number or per unit; None where the neuron has none."""
        beta = getattr(self, "beta", None)
        return beta if isinstance(beta, Tensor) else None

    @property
    def half_life(self) -> Tensor | None:
        """The membrane's half-life in steps, a number or per unit."""
        return None if self.decay is None else half_life(self.decay)

    def extra_repr(self) -> str:
        """Return what the representation shows: half-lives in steps, thresholds, and why a step has no scalar form."""
        decays, others = [], []
        for name, argument in arguments_of(self).items():
            value, learned = getattr(self, name).detach(), "" if name in self._buffers else ", learned"
            prefix = decay_prefix(argument)
            if prefix is None:
                others.append(f"{argument}={shown(value)}{learned}")
            else:
                decays.append(f"{prefix}half_life={shown(half_life(value))}{learned}")
        program = self.lowered()
        if isinstance(program, NotLowered):
            others.append(f"not lowered: {program.reason}")
        return ", ".join((*decays, *others))

    def _get_name(self) -> str:
        return type(self).__name__.removeprefix("Parametrized")

    def _apply(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Self:
        """Move or convert the tensors; refuse a type in which a decay rounds to one."""
        for name, argument in arguments_of(self).items():
            value = getattr(self, name)
            if decay_prefix(argument) is None or value.is_meta:
                continue
            dtype = fn(value.detach().new_zeros(())).dtype
            if dtype != value.dtype and bool((value.detach().to(dtype) >= 1).any()):
                raise ValueError(
                    f"{self._get_name()} with {decay_prefix(argument)}half_life={shown(half_life(value.detach()))} "
                    f"cannot be converted to {dtype}, in which its decay per step rounds to 1; the longest half-life "
                    f"there is {longest(dtype):.4g} steps. Convert the synapse alone, or shorten the half-life"
                )
        super()._apply(fn, *args, **options)
        return self


def _like(neuron: Neuron) -> Tensor:
    """Return a tensor of the dtype and on the device that a neuron's numbers have."""
    every = (t for t in (*neuron.parameters(), *neuron.buffers()) if t.is_floating_point())
    return next(every, torch.zeros(()))


class Readout(Neuron):
    """A neuron whose output is linear in its state and current, and does not spike.

    Example:
        >>> import torch, tracetorch as tt
        >>> class Sum(tt.Readout):
        ...     def step(self, s, current):
        ...         v = s.v + current
        ...         return s.replace(v=v), v
        >>> tt.Layer(torch.nn.Linear(3, 2), Sum())(torch.ones(4, 3)).shape
        torch.Size([4, 2])
    """
