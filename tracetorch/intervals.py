"""The times between the steps of a network whose samples come at irregular times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from tracetorch.entry import require_network
from tracetorch.linking import layers
from tracetorch.neurons import IF, Mean
from tracetorch.neurons.timed import Elapsed, intervals_of
from tracetorch.synapses import TimedSynapse


@contextmanager
def intervals(net: nn.Module, dt: float | Tensor) -> Iterator[None]:
    r"""Set the times between steps for the steps that are run inside, one after the other.

    .. math:: v_t = \beta^{\Delta_t} v_{t-1} + I_t

    Steps and windows use up the times in their order, so that a loop of steps, a scan, and scans of parts are the same.

    Args:
        net: a network whose neurons are all `tt.Timed`, but for `IF` and `Mean`, which do not leak.
        dt: :math:`\Delta`, the time since the step before, in the unit of the neurons' half-lives: a number, `[T]` for
            each step, or `[T, B]` for each step and row. At a sequence's first step it has nothing to act on.

    Yields:
        Nothing.

    Raises:
        ValueError: if `dt` is negative or not finite, does not fit the steps and rows that are run, is not used up at
            the end, or a neuron goes by steps.

    Example:
        >>> import torch, tracetorch as tt
        >>> net = torch.nn.Sequential(
        ...     tt.Layer(torch.nn.Linear(3, 8), tt.Timed(tt.LIF(half_life=0.02))),
        ...     tt.Layer(torch.nn.Linear(8, 2), tt.Timed(tt.LI(half_life=0.05))),
        ... )
        >>> tt.set_rule(net, tt.rules.drtrl())
        >>> times = torch.tensor([0.0, 0.004, 0.1, 0.11])  # seconds
        >>> with tt.intervals(net, times.diff(prepend=times[:1])):
        ...     y = tt.scan(net, torch.rand(4, 1, 3), out="last")
        >>> y.sum().backward()
    """
    require_network(net)
    times, found = intervals_of(dt), layers(net)
    timed = [layer for layer in found.values() if layer.neuron.currents == TimedSynapse.currents]
    leaks = [name for name, layer in found.items() if layer not in timed and not isinstance(layer.neuron, IF | Mean)]
    if leaks or not timed:
        raise ValueError(
            f"tt.intervals needs neurons that leak by time, and {', '.join(map(repr, leaks)) or 'this network'} has "
            f"none: write tt.Timed(tt.LIF(half_life=...)) in each layer but those of tt.IF and tt.Mean"
        )
    before = [layer.core.elapsed for layer in timed]
    try:
        for layer in timed:
            layer.core.elapsed = Elapsed(times)
        yield
        for layer in timed:
            elapsed = layer.core.elapsed
            if times.dim() and elapsed is not None and elapsed.done != len(times):
                raise ValueError(
                    f"tt.intervals was given the times of {len(times)} steps, and {elapsed.done} were run inside of it"
                )
    finally:
        for layer, past in zip(timed, before, strict=True):
            layer.core.elapsed = past
