"""Call the fused kernels on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.ops.fused.load import Step, kernels


@dataclass(frozen=True)
class Forward:
    """Hold what a fused window gave.

    Args:
        z: outputs, `[T, B, N]`.
        last: states and counter after the window, `[B, N]` each.
        before: states and counter before each step, `[T, B, N]` each; empty where they were not recorded.
        drive: currents, `[T, B, N]`; empty likewise.
        sigma: sensitivities of the states to a constant current, `[S, B, N]`; empty where not traced.
        h: decayed sum of the outputs' sensitivities, `[B, N]`; empty likewise.
        x: decayed sum of the inputs, `[B, K]`; empty likewise.
    """

    z: Tensor
    last: tuple[Tensor, ...]
    before: tuple[Tensor, ...]
    drive: Tensor
    sigma: Tensor
    h: Tensor
    x: Tensor


@dataclass(frozen=True)
class Reverse:
    """Hold what a fused reverse pass gave.

    Args:
        drive: cotangents of the currents, `[T, B, N]`.
        states: cotangents of the states after each step, `[S, T, B, N]`; empty where they were not asked for.
        signal: filtered cotangents of the outputs, `[T, B, N]`; empty likewise.
        start: cotangents of the states before the window, `[S, B, N]`.
        leaving: the filter's cotangent that leaves the window, `[B, N]`.
        psi: the surrogate, `[T, B, N]`; empty where it was not asked for.
    """

    drive: Tensor
    states: Tensor
    signal: Tensor
    start: Tensor
    leaving: Tensor
    psi: Tensor


def _rows(params: Sequence[Tensor], unit: int, like: Tensor) -> Tensor:
    if not params:
        return like.new_zeros(0, unit)
    return torch.stack([p.detach().to(like).expand(unit) for p in params]).contiguous()


def run_forward(
    scalar: Step,
    x: Tensor,
    synapse: tuple[Tensor, Tensor | None] | None,
    *,
    s: Sequence[Tensor],
    params: Sequence[Tensor],
    record: bool,
    traced: tuple[Tensor, Tensor, Tensor, float, float] | None,
) -> Forward:
    """Step a neuron through a window in one kernel.

    Args:
        scalar: the neuron's step on plain numbers.
        x: inputs `[T, B, K]` where a synapse is given, currents `[T, B, N]` otherwise.
        synapse: weight, `[N, K]`, and bias, `[N]` or None, of a dense synapse that is walked by its input's events; None
            where `x` is the current.
        s: states, then the counter if the neuron has one, `[B, N]` each.
        params: values of the neuron's parameters, each broadcasting to `[N]`.
        record: whether to keep states and currents.
        traced: sensitivities `[S, B, N]`, decayed sums of sensitivities `[B, N]` and of inputs `[B, K]` to go on with, and
            the decays of both; None where they are not wanted.

    Returns:
        What the window gave.
    """
    module = kernels(scalar, x.dtype, events=synapse is not None, record=record, traced=traced is not None)
    steps, batch = x.shape[:2]
    units = x.shape[2] if synapse is None else synapse[0].shape[0]
    states = torch.stack(list(s[: scalar.states])).contiguous()
    counter = s[scalar.states].clone() if len(s) > scalar.states else x.new_zeros(batch, units)
    empty, flat = x.new_empty(0, 0, 0, 0), x.new_empty(0, 0, 0)
    z = x.new_empty(steps, batch, units)
    before = x.new_empty(scalar.states, steps, batch, units) if record else empty
    c_before = x.new_empty(steps, batch, units) if record else flat
    drive = x.new_empty(steps, batch, units) if record else flat
    if synapse is None:
        wt, bias = x.new_empty(0, 0), x.new_empty(0)
    else:
        wt = synapse[0].detach().t().contiguous()
        bias = x.new_zeros(units) if synapse[1] is None else synapse[1].detach()
    if traced is None:
        sigma, h, sums, powers, q = flat, x.new_empty(0, 0), x.new_empty(batch, 0), x.new_empty(steps), 0.0
    else:
        sigma, h = traced[0].clone(), traced[1].clone()
        q, a = traced[3], traced[4]
        powers = a ** torch.arange(steps - 1, -1, -1, dtype=torch.float64)
        powers = powers.to(x.dtype)
        sums = traced[2] * a**steps
    arrays = (x.contiguous(), wt, bias, states, counter, _rows(params, units, x), z, before, c_before, drive)
    arrays += (sigma, h, sums, powers)
    module.forward(*(a.numpy() for a in arrays), module.F(q))
    last = (*states.unbind(0), *([counter] if len(s) > scalar.states else []))
    kept = (*before.unbind(0), *([c_before] if len(s) > scalar.states else [])) if record else ()
    return Forward(z, last, kept, drive, sigma, h, sums)


def run_reverse(
    scalar: Step,
    before: Sequence[Tensor],
    drive: Tensor,
    *,
    params: Sequence[Tensor],
    signal: Tensor,
    carry: tuple[Tensor, Tensor, float],
    history: bool,
) -> Reverse:
    """Carry cotangents back through a window in one kernel, the blocks taken anew from states and currents.

    Args:
        scalar: the neuron's step on plain numbers.
        before: states, then the counter if there is one, before each step, `[T, B, N]` each.
        drive: currents, `[T, B, N]`.
        params: values of the neuron's parameters, each broadcasting to `[N]`.
        signal: cotangents of the outputs, `[T, B, N]`, or `[1, B, N]` for the last alone.
        carry: cotangents of the last states `[S, B, N]` and of the filter `[B, N]`, and the filter's decay.
        history: whether to keep the states' cotangents and the filtered signal.

    Returns:
        What was found.
    """
    module = kernels(scalar, drive.dtype, events=False, record=history, traced=False)
    steps, batch, units = drive.shape
    states = torch.stack(list(before[: scalar.states])).contiguous()
    counter = before[scalar.states] if len(before) > scalar.states else drive.new_zeros(()).expand(drive.shape)
    lam, leaving = carry[0].clone().contiguous(), carry[1].clone().contiguous()
    q = torch.empty_like(drive)
    kept = drive.new_empty(scalar.states, *drive.shape) if history else drive.new_empty(0, 0, 0, 0)
    filtered = torch.empty_like(drive) if history else drive.new_empty(0, 0, 0)
    psi = drive.new_empty(0, 0, 0)
    module.reverse(
        states.numpy(),
        counter.contiguous().numpy(),
        drive.contiguous().numpy(),
        _rows(params, units, drive).numpy(),
        signal.contiguous().numpy(),
        steps - signal.shape[0],
        lam.numpy(),
        module.F(carry[2]),
        leaving.numpy(),
        q.numpy(),
        kept.numpy(),
        filtered.numpy(),
        psi.numpy(),
    )
    return Reverse(q, kept, filtered, lam, leaving, psi)


def run_weight_grad(scalar: Step, x: Tensor, q: Tensor) -> Tensor:
    """Return `q^T x`, in time proportional to the events of `x`.

    Args:
        scalar: any neuron's step; it only names the compiled module.
        x: inputs, `[R, K]`.
        q: cotangents, `[R, N]`.

    Returns:
        The gradient, `[N, K]`.
    """
    module = kernels(scalar, x.dtype, events=False, record=False, traced=False)
    out = x.new_zeros(x.shape[1], q.shape[1])
    module.weight_grad(x.contiguous().numpy(), q.contiguous().numpy(), out.numpy(), torch.get_num_threads())
    return out.t()
