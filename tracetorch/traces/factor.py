r"""The factor rule's averages and its credit.

.. math:: \Delta W = \sum_t (\bar h_t \odot L_t) \otimes \bar x_t

Averages are kept as decayed sums beside the sum of their weights, so that they are bias-corrected per row and may have
a decay that is being learned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tracetorch.ops import decayed_sums, reverse_filter
from tracetorch.traces.backward import combine, pull, sum_to
from tracetorch.traces.instant import Call, padded, require_finite, send_below
from tracetorch.traces.window import Afferent, Window


@dataclass(frozen=True)
class Sums:
    """Hold the decayed sums of a factor layer.

    Args:
        h: sum of sensitivities, `[B, *unit]`.
        h_weight: sum of their weights, `[B]`.
        x: per afferent, sum of features per bucket of decays, `[G, B, *features]`.
        x_weight: sum of their weights, `[G, B]`.
        bucket: bucket of each unit, `[*unit]` of int64; empty where there is one bucket.
    """

    h: Tensor
    h_weight: Tensor
    x: tuple[Tensor, ...]
    x_weight: Tensor
    bucket: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by a flat name."""
        flat = {"h": self.h, "h_weight": self.h_weight, "x_weight": self.x_weight, "bucket": self.bucket}
        return flat | {f"x.{i}": x for i, x in enumerate(self.x)}

    @staticmethod
    def from_tensors(flat: dict[str, Tensor]) -> Sums:
        """Return the sums that `tensors` gave, read back."""
        x = tuple(flat[f"x.{i}"] for i in range(sum(k.startswith("x.") for k in flat)))
        return Sums(flat["h"], flat["h_weight"], x, flat["x_weight"], flat["bucket"])

    def moved(self, change: Any) -> Sums:
        """Return the sums after `change` was applied to each tensor."""
        return Sums.from_tensors({k: change(v) for k, v in self.tensors().items()})


@dataclass(frozen=True)
class Averages:
    """Hold the averages of one window that events read: all steps, or the last alone.

    Args:
        h: average sensitivity, `[E, B, *unit]`.
        h_weight: sum of weights, `[E, B]`.
        x: per afferent and bucket, average features, `[E, G, B, *features]`.
        mask: `[G, *unit]`, one where a unit belongs to a bucket; None where there is one bucket.
    """

    h: Tensor
    h_weight: Tensor
    x: tuple[Tensor, ...]
    mask: Tensor | None


def buckets_of(decays: Tensor, unit: tuple[int, ...], count: int) -> Tensor:
    """Return each unit's bucket, by the order of decays; empty where all share one decay."""
    if decays.numel() == 1 or count == 1:
        return torch.empty(0, dtype=torch.int64, device=decays.device)
    flat = decays.expand(unit).reshape(-1)
    rank = flat.argsort(stable=True).argsort(stable=True)
    return (rank * count // flat.numel()).clamp(max=count - 1).reshape(unit)


def average(sums: Sums | None, gain: Tensor, window: Window, *, last: bool) -> tuple[Averages, Sums]:
    """Carry the sums over a window and give the averages at its events.

    Args:
        sums: the sums at the window's start, or None after a reset.
        gain: sensitivity of the outputs to a constant current, `[T, B, *unit]`.
        window: the window.
        last: whether the last step is the only event.

    Returns:
        The averages and the sums at the window's end.
    """
    q = window.values.filter
    ones = gain.new_ones(window.steps, window.batch)
    start = None if sums is None else window.kept(sums.h)
    h = decayed_sums(gain, q, start)
    h_weight = decayed_sums(ones, q, None if sums is None else _row_kept(sums.h_weight, window))
    decays = window.values.decays if window.values.decays is not None else gain.new_ones(())
    bucket = buckets_of(decays, window.unit, window.plan.buckets) if sums is None else sums.bucket
    mask, a = _bucket_decays(bucket, decays, window)
    x_weight = decayed_sums(
        ones.unsqueeze(1).expand(-1, a.shape[0], -1),
        a.unsqueeze(1),
        None if sums is None else _row_kept(sums.x_weight, window),
    )
    means, ends = [], []
    for i, afferent in enumerate(window.afferents):
        history, end = _features(afferent, a, None if sums is None else sums.x[i], window, last=last)
        weight = x_weight[-1:] if last else x_weight
        means.append(history / weight.reshape(*weight.shape, *[1] * (history.dim() - 3)))
        ends.append(end)
    events = slice(window.steps - 1, None) if last else slice(None)
    shape = (*h_weight[events].shape, *[1] * len(window.unit))
    averages = Averages(h[events] / h_weight[events].reshape(shape), h_weight[events], tuple(means), mask)
    return averages, Sums(h[-1], h_weight[-1], tuple(ends), x_weight[-1], bucket)


def _row_kept(value: Tensor, window: Window) -> Tensor:
    return value if window.keep is None else value * window.keep.to(value.dtype)


def _bucket_decays(bucket: Tensor, decays: Tensor, window: Window) -> tuple[Tensor | None, Tensor]:
    if bucket.numel() == 0:
        return None, decays.mean().reshape(1)
    flat, index = decays.expand(window.unit).reshape(-1), bucket.reshape(-1)
    mask = torch.nn.functional.one_hot(index, window.plan.buckets).to(decays.dtype).t()
    a = (mask @ flat) / mask.sum(1).clamp(min=1)
    return mask.reshape(-1, *window.unit), a


def _features(
    afferent: Afferent, a: Tensor, start: Tensor | None, window: Window, *, last: bool
) -> tuple[Tensor, Tensor]:
    """Return the decayed sums of an afferent's features, `[E, G, B, *features]`, and the last of them."""
    x = afferent.x
    features = afferent.synapse.features(x.reshape(-1, *x.shape[2:]))
    features = features.reshape(*x.shape[:2], *features.shape[1:])
    decay = a.reshape(-1, *[1] * (features.dim() - 1))
    if start is not None and window.keep is not None:
        start = start * window.keep.to(start.dtype).reshape(1, -1, *[1] * (start.dim() - 2))
    if not last:
        history = decayed_sums(features.unsqueeze(1).expand(-1, a.shape[0], *features.shape[1:]), decay, start)
        return history, history[-1]
    exponents = torch.arange(window.steps - 1, -1, -1, device=a.device, dtype=a.dtype)
    end = torch.tensordot(a.unsqueeze(1) ** exponents, features, dims=1)
    if start is not None:
        end = end + decay**window.steps * start
    return end.unsqueeze(0), end


class _Factor(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, call: Call, averages: Averages, carry: Tensor, x: Tensor, way_back: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.call, ctx.averages = call, averages
        ctx.save_for_backward(x if ctx.needs_input_grad[3] else None, way_back)
        ctx.likes = [p.detach() for p in parameters]
        return call.output.clone(), carry.view_as(carry)

    @staticmethod
    def backward(ctx: Any, z_bar: Tensor, carry_bar: Tensor) -> tuple[Tensor | None, ...]:
        call: Call = ctx.call
        averages: Averages = ctx.averages
        window = call.window
        require_finite(call.finite, z_bar)
        z_bar = z_bar.to(window.record.drive.dtype)
        x, way_back = ctx.saved_tensors
        if window.plan.sequence:
            averages = _final(averages)
        x_bar = None
        if ctx.needs_input_grad[3]:
            gain = averages.h[-1] if call.last or window.plan.sequence else averages.h
            x_bar = send_below(replace(call, gain=gain), z_bar, x, way_back)
        events = z_bar.unsqueeze(0) if call.last else z_bar
        if window.plan.sequence:
            events = events.sum(0, keepdim=True)
        grads = _weights(window, averages, averages.h * events)
        start = _neuron(call, averages, events, carry_bar, grads, ctx.likes)
        return (None, None, start, x_bar, None, *grads)


def _final(averages: Averages) -> Averages:
    return Averages(averages.h[-1:], averages.h_weight[-1:], tuple(x[-1:] for x in averages.x), averages.mask)


def _weights(window: Window, averages: Averages, signal: Tensor) -> list[Tensor | None]:
    """Return the weights' gradients from the scaled signal at the events, `[E, B, *unit]`."""
    grads: list[Tensor | None] = []
    for afferent, means in zip(window.afferents, averages.x, strict=True):
        if not afferent.traced:
            grads += [None] * len(afferent.synapse.weights())
            continue
        total: tuple[Tensor, ...] | None = None
        for g in range(means.shape[1]):
            part = signal if averages.mask is None else signal * averages.mask[g]
            features = means[:, g]
            found = afferent.synapse.weight_grad(
                features.reshape(-1, *features.shape[2:]), part.reshape(-1, *window.unit)
            )
            total = found if total is None else tuple(a + b for a, b in zip(total, found, strict=True))
        grads += total if total is not None else ()
    return grads


def _neuron(
    call: Call,
    averages: Averages,
    events: Tensor,
    carry: Tensor,
    grads: list[Tensor | None],
    likes: list[Tensor],
) -> Tensor:
    """Append the gradients of biases and neuron parameters, and return the carried rows' cotangents."""
    window = call.window
    blocks, size = window.blocks, len(window.blocks.B)
    start = torch.zeros_like(carry)
    pulled, filtered = None, None
    for name in call.names:
        if name.startswith(BIAS):
            value = averages.h * events
            grads.append(sum_to(value, likes[len(grads)]))
            continue
        if pulled is None or filtered is None:
            weight = averages.h_weight.reshape(*averages.h_weight.shape, *[1] * len(window.unit))
            signal = events / weight
            if signal.shape[0] != window.steps:
                signal = padded(signal[0], window.steps)
            filtered, leaving = reverse_filter(signal, window.values.filter, carry[size])
            start[size] = window.kept(leaving)
            pulled = pull(blocks, filtered, [carry[j] for j in range(size)], window.steps, rank=window.rank)
            for j, value_j in enumerate(pulled.start):
                if value_j is not None:
                    start[j] = window.kept(value_j)
        found = combine(blocks.Q[name], blocks.P[name], filtered, pulled.states, rank=window.rank)
        grads.append(None if found is None else sum_to(found, likes[len(grads)]))
    return start


BIAS = "bias."
"""Prefix of the biases' names among the parameters."""


def factor(
    call: Call, averages: Averages, carry: Tensor, *, x: Tensor, way_back: Tensor, parameters: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Give out a window's values with the factor rule's credit attached.

    Args:
        call: how the node is used.
        averages: the averages at the window's events.
        carry: carried rows, `[rows, B, *unit]`, as `attach` gives them.
        x: inputs with their graph, `[T, B, *in]`, or `[B, *in]` where `call.last`.
        way_back: weight or feedback through which credit goes below; empty for what the synapse has itself.
        parameters: as in `attach`.

    Returns:
        The output, and the rows to carry on.
    """
    return _Factor.apply(call, averages, carry, x, way_back, *parameters)  # type: ignore[no-any-return]
