"""Averages of inputs and sensitivities: what a factor layer carries and what its events read.

Averages are kept as decayed sums beside the sum of their weights, so that they are bias-corrected per row and may have
a decay that is being learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracetorch.ops import decayed_sums
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
    """Hold the averages that events of one window read: all steps, or the last alone.

    Args:
        h: decayed sum of sensitivities, `[E, B, *unit]`.
        h_weight: sum of its weights, `[E, B]`.
        x: per afferent, decayed sum of features by bucket at the last event, `[G, B, *features]`.
        x_weight: sum of their weights, `[E, G, B]`.
        start: per afferent, sum of features by bucket before the window, or None after a reset.
        decays: decay per bucket, `[G]`.
        bucket: bucket of each unit, `[*unit]`; empty where there is one.
        mask: `[G, *unit]`, one where a unit belongs to a bucket; None where there is one bucket.
    """

    h: Tensor
    h_weight: Tensor
    x: tuple[Tensor, ...]
    x_weight: Tensor
    start: tuple[Tensor, ...] | None
    decays: Tensor
    bucket: Tensor
    mask: Tensor | None

    def sensitivity(self) -> Tensor:
        """Return the average sensitivity at the last event, `[1, B, *unit]`."""
        weight = self.h_weight[-1:]
        return self.h[-1:] / weight.reshape(*weight.shape, *[1] * (self.h.dim() - 2))

    def features(self, afferent: int) -> Tensor:
        """Return an afferent's average features by bucket at the last event, `[G, B, *features]`."""
        x, weight = self.x[afferent], self.x_weight[-1]
        return x / weight.reshape(*weight.shape, *[1] * (x.dim() - 2))


def buckets_of(decays: Tensor, unit: tuple[int, ...], count: int) -> Tensor:
    """Return each unit's bucket, by the order of decays; empty where all share one decay."""
    if decays.numel() == 1 or count == 1:
        return torch.empty(0, dtype=torch.int64, device=decays.device)
    flat = decays.expand(unit).reshape(-1)
    rank = flat.argsort(stable=True).argsort(stable=True)
    return (rank * count // flat.numel()).clamp(max=count - 1).reshape(unit)


@dataclass(frozen=True)
class Start:
    """Hold where the averages of a window begin.

    Args:
        bucket: bucket of each unit.
        mask: as in `Averages`.
        decays: decay per bucket, `[G]`.
        sums: the sums before the window, rows that were reset set to zero; None after a reset.
    """

    bucket: Tensor
    mask: Tensor | None
    decays: Tensor
    sums: Sums | None


def begin(sums: Sums | None, decays: Tensor, unit: tuple[int, ...], buckets: int, keep: Tensor | None) -> Start:
    """Decide with which decays a window's inputs are averaged, and from where.

    Args:
        sums: the sums at the window's start, or None after a reset.
        decays: decay of the input's average, per unit or one number.
        unit: shape of the units.
        buckets: number of buckets.
        keep: `[B]`, zero for rows that were reset, or None.

    Returns:
        Where the averages begin.
    """
    bucket = buckets_of(decays, unit, buckets) if sums is None else sums.bucket
    if bucket.numel() == 0:
        mask, a = None, (decays if decays.numel() == 1 else decays.mean()).reshape(1)
    else:
        flat, index = decays.expand(unit).reshape(-1), bucket.reshape(-1)
        flags = torch.nn.functional.one_hot(index, buckets).to(decays.dtype).t()
        mask, a = flags.reshape(-1, *unit), (flags @ flat) / flags.sum(1).clamp(min=1)
    if sums is None or keep is None:
        return Start(bucket, mask, a, sums)

    def kept(x: Tensor, lead: int) -> Tensor:
        return x * keep.to(x.dtype).reshape(*[1] * lead, -1, *[1] * (x.dim() - lead - 1))

    x = tuple(kept(v, 1) for v in sums.x)
    return Start(bucket, mask, a, Sums(kept(sums.h, 0), kept(sums.h_weight, 0), x, kept(sums.x_weight, 1), bucket))


def powers(decays: Tensor, steps: int) -> Tensor:
    """Return the weights `[G, T]` with which a window's inputs enter sums of the given decays, `[G]`."""
    if steps == 1:
        return torch.ones_like(decays).unsqueeze(1)
    exponents = torch.arange(steps - 1, -1, -1, device=decays.device, dtype=decays.dtype)
    return decays.unsqueeze(1) ** exponents


def average(
    start: Start, window: Window, h: Tensor | None, gain: Tensor | None, *, last: bool
) -> tuple[Averages, Sums]:
    """Carry the sums over a window and give the averages at its events.

    Args:
        start: where they begin.
        window: the window.
        h: decayed sums of sensitivities at the events, `[E, B, *unit]`, where a kernel has formed them.
        gain: sensitivity of the outputs to a constant current, `[T, B, *unit]`, where none has.
        last: whether the last step is the only event.

    Returns:
        The averages and the sums at the window's end.
    """
    sums, q = start.sums, window.values.filter
    if h is None:
        if gain is None:
            raise ValueError("either sums or sensitivities are needed")
        h = decayed_sums(gain, q, None if sums is None else sums.h)
        h = h[-1:] if last else h
    h_weight = _Weight(torch.as_tensor(q, dtype=h.dtype, device=h.device), None if sums is None else sums.h_weight)
    x_weight = _Weight(start.decays.to(h).unsqueeze(1), None if sums is None else sums.x_weight)
    events = (1 if last else window.steps, window.steps)
    h_weights = h_weight(*events, (window.batch,))
    x_weights = x_weight(*events, (start.decays.shape[0], window.batch))
    ends = tuple(
        _features(a, start.decays, None if sums is None else sums.x[i], window.steps)
        for i, a in enumerate(window.afferents)
    )
    averages = Averages(
        h,
        h_weights,
        ends,
        x_weights,
        None if sums is None else sums.x,
        start.decays,
        start.bucket,
        start.mask,
    )
    return averages, Sums(h[-1], h_weights[-1], ends, x_weights[-1], start.bucket)


class _Weight:
    r"""Give the decayed sums of ones, from a start, in closed form.

    .. math:: w_t = a^t w_0 + \frac{1 - a^t}{1 - a}
    """

    def __init__(self, decay: Tensor, start: Tensor | None) -> None:
        self.decay, self.start = decay, start

    def __call__(self, events: int, steps: int, shape: tuple[int, ...]) -> Tensor:
        """Return the sums after the last `events` of `steps` steps, `[E, *shape]`."""
        a = self.decay
        if steps == 1:
            now = torch.ones((1, *shape), dtype=a.dtype, device=a.device)
            return now if self.start is None else now + a * self.start
        count = torch.arange(steps - events + 1, steps + 1, dtype=a.dtype, device=a.device)
        count = count.reshape(-1, *[1] * len(shape))
        power = a**count
        fresh = torch.where(a == 1, count, (1 - power) / torch.where(a == 1, torch.ones_like(a), 1 - a))
        total = fresh if self.start is None else fresh + power * self.start
        return total.expand(events, *shape)


def _features(afferent: Afferent, a: Tensor, start: Tensor | None, steps: int) -> Tensor:
    """Return the decayed sums of an afferent's features at the window's end, `[G, B, *features]`."""
    if afferent.fresh is not None:
        return afferent.fresh
    features = afferent.features()
    features = features.reshape(steps, -1, *features.shape[1:])
    a = a.to(features.dtype)
    end = features if steps == 1 else torch.tensordot(powers(a, steps), features, dims=1)
    decay = a.reshape(-1, *[1] * (features.dim() - 1))
    if start is not None:
        return end + decay**steps * start
    return end.expand(a.shape[0], *end.shape[1:])
