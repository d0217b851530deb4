"""A neuron whose leak goes by the time that has passed since the step before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from tracetorch.neurons.alif import ALIF
from tracetorch.neurons.base import Neuron, Readout
from tracetorch.neurons.binding import bind
from tracetorch.neurons.decays import arguments_of, decay_prefix
from tracetorch.neurons.li import LI
from tracetorch.neurons.lif import LIF
from tracetorch.neurons.spiking import Spiking

LEAKY = (LIF, ALIF, LI)
"""Neurons whose states leak apart from each other, so that leaks of two steps make one of both."""


class Timed(Neuron):
    r"""Let a neuron's leaks go by time instead of by steps, for samples that come at irregular times.

    .. math:: v_t = \beta^{\Delta_t} v_{t-1} + I_t

    for each decay :math:`\beta` of the neuron, with :math:`\Delta_t` the time since the step before, in whose unit the
    half-lives are. Set it with `tt.intervals`; it is one without. As the decays vary, a trace takes one number per
    weight: `drtrl`, `traced_bptt`, `bptt`, `tbptt`, `sltt` and, with the whole sequence in one scan, `cascade` serve
    it, on every backend. Refused are rules with one memory per input, and the filter that e-prop takes of a readout
    that leaks by time.

    Args:
        neuron: `LIF`, `ALIF` or `LI`, whose states leak apart from each other; its reset comes before the decay
            (`decayed=True`, the default).

    Raises:
        TypeError: if the neuron is of another kind.
        ValueError: if its reset comes after the decay, or it has a refractory time, which is counted in steps.

    Example:
        >>> import torch, tracetorch as tt
        >>> layer = tt.Layer(torch.nn.Linear(1, 1, bias=False), tt.Timed(tt.LI(half_life=2.0)))
        >>> torch.nn.init.ones_(layer.synapse.weight).item()
        1.0
        >>> with tt.intervals(layer, torch.tensor([1.0, 2.0, 4.0])):
        ...     y = tt.scan(layer, torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1))
        >>> [round(v, 3) for v in y.flatten().tolist()]
        [1.0, 0.5, 0.125]
    """

    currents = ("i", "dt")

    def __new__(cls, neuron: Any = None) -> Self:
        """Return a readout for a readout."""
        return super().__new__(TimedReadout if isinstance(neuron, Readout) else cls)  # type: ignore[return-value]

    def __init__(self, neuron: Neuron) -> None:
        nn.Module.__init__(self)
        kind = type(neuron).__mro__[1] if hasattr(neuron, "parametrizations") else type(neuron)
        if kind not in LEAKY:
            known = ", ".join(f"tt.{k.__name__}" for k in LEAKY)
            raise TypeError(f"tt.Timed takes one of {known}, whose states leak apart, got {neuron!r}")
        if isinstance(neuron, Spiking) and not neuron.reset.decayed:
            raise ValueError(f"tt.Timed takes a reset before the decay, {type(neuron.reset).__name__}(decayed=True)")
        if isinstance(neuron, Spiking) and neuron.refractory:
            raise ValueError(
                f"tt.Timed takes no refractory time, which counts steps, got refractory={neuron.refractory}"
            )
        self.inner = neuron
        self.state = neuron.state  # type: ignore[misc]

    def step(self, s: Any, current: Any) -> tuple[Any, Tensor]:
        """Advance by one time step; see the class for the formula."""
        inner = self.inner
        named = [name for name, argument in arguments_of(inner).items() if decay_prefix(argument) is not None]
        return bind(inner, {name: getattr(inner, name) ** current.dt for name in named}).step(s, current.i)

    def zeros(self, like: Tensor) -> tuple[Tensor, ...]:
        """Return the state after a reset, for currents of the form of `like`, `[B, *unit]`."""
        return self.inner.zeros(like)

    def _get_name(self) -> str:
        return "Timed"


class TimedReadout(Timed, Readout):
    """A readout that leaks by time; `Timed` returns it for one."""


class Elapsed:
    """The times between the steps that are run, in their order: one number, or `[T]`, or `[T, B]`."""

    def __init__(self, dt: Tensor) -> None:
        self.dt, self.done = dt, 0

    def of(self, xs: Tensor) -> Tensor:
        """Return the times for the next steps, `[T, B]`, as many as there are in a window `[T, B, ...]`."""
        steps, batch = xs.shape[:2]
        dt = self.dt.to(xs.device)
        if dt.dim() == 0:
            return dt.expand(steps, batch)
        part = dt[self.done : self.done + steps]
        if len(part) < steps or (dt.dim() == 2 and dt.shape[1] != batch):
            raise ValueError(
                f"tt.intervals was given times {list(dt.shape)}, [time] or [time, batch], of which {self.done} are "
                f"used up, and a window has {steps} steps and {batch} rows"
            )
        return part if dt.dim() == 2 else part.unsqueeze(1).expand(steps, batch)

    def passed(self, steps: int) -> None:
        """Count steps that have been run."""
        self.done += steps


def intervals_of(dt: Any) -> Tensor:
    """Return times between steps as a tensor, or raise where they are none."""
    found = torch.as_tensor(dt)
    if found.is_complex() or found.dtype == torch.bool or found.dim() > 2:
        raise ValueError(f"dt is a number, [time] or [time, batch], got {list(found.shape)} of {found.dtype}")
    if not bool((torch.isfinite(found) & (found >= 0)).all()):
        raise ValueError(
            f"dt is the time since the step before, finite and at least 0, got {found.min().item():g} as least"
        )
    return found
