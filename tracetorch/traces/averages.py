"""Averages of inputs and sensitivities: what an averaged trace carries and what its events read.

Averages are carried as decayed sums beside the sum of their weights, so that they are bias-corrected per row and may
have a decay that is being learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tracetorch.traces.passing import Start
from tracetorch.traces.window import Afferent, Window


@dataclass(frozen=True)
class Sums:
    """The decayed sums of a layer.

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
    def from_tensors(flat: Mapping[str, Tensor]) -> Sums:
        """Return the sums whose `tensors` these are."""
        x = tuple(flat[f"x.{i}"] for i in range(sum(k.startswith("x.") for k in flat)))
        return Sums(flat["h"], flat["h_weight"], x, flat["x_weight"], flat["bucket"])


@dataclass(frozen=True)
class Buckets:
    """With which decays a window's inputs are averaged, and from where.

    Args:
        bucket: bucket of each unit, `[*unit]`; empty where there is one.
        mask: `[G, *unit]`, one where a unit belongs to a bucket; None where there is one bucket.
        decays: decay per bucket, `[G]`.
        sums: the sums before the window, rows that are reset set to zero; None after a reset.
    """

    bucket: Tensor
    mask: Tensor | None
    decays: Tensor
    sums: Sums | None


@dataclass(frozen=True)
class Averages:
    """The averages that events of one window read: all steps, or the last alone.

    Args:
        h: decayed sum of sensitivities, `[E, B, *unit]`.
        h_weight: sum of its weights, `[E, B]`.
        x: per afferent, decayed sum of features by bucket at the last event, `[G, B, *features]`.
        x_weight: sum of their weights, `[E, G, B]`.
        begin: where they begin.
    """

    h: Tensor
    h_weight: Tensor
    x: tuple[Tensor, ...]
    x_weight: Tensor
    begin: Buckets

    def sensitivity(self) -> Tensor:
        """Return the average sensitivity at the last event, `[1, B, *unit]`."""
        weight = self.h_weight[-1:]
        return self.h[-1:] / weight.reshape(*weight.shape, *[1] * (self.h.dim() - 2))

    def features(self, afferent: int) -> Tensor:
        """Return an afferent's average features by bucket at the last event, `[G, B, *features]`."""
        x, weight = self.x[afferent], self.x_weight[-1]
        return x / weight.reshape(*weight.shape, *[1] * (x.dim() - 2))

    def sums(self) -> Sums:
        """Return the sums at the window's end."""
        return Sums(self.h[-1], self.h_weight[-1], self.x, self.x_weight[-1], self.begin.bucket)


def buckets_of(decays: Tensor, unit: tuple[int, ...], count: int) -> Tensor:
    """Return each unit's bucket, by the order of decays; empty where all share one decay."""
    if decays.numel() == 1 or count == 1:
        return torch.empty(0, dtype=torch.int64, device=decays.device)
    flat = decays.expand(unit).reshape(-1)
    rank = flat.argsort(stable=True).argsort(stable=True)
    return (rank * count // flat.numel()).clamp(max=count - 1).reshape(unit)


def begin(start: Start, decays: Tensor, count: int) -> Buckets:
    """Return with which decays a window's inputs are averaged, and from where.

    Args:
        start: the carried past.
        decays: decay of the input's average, per unit or one number.
        count: number of buckets.

    Returns:
        The buckets.
    """
    unit = tuple(start.like.shape[1:])
    sums = Sums.from_tensors(start.traces.other) if start.traces is not None and start.traces.other else None
    bucket = buckets_of(decays, unit, count) if sums is None else sums.bucket
    if bucket.numel() == 0:
        mask, a = None, (decays if decays.numel() == 1 else decays.mean()).reshape(1)
    else:
        flat, index = decays.expand(unit).reshape(-1), bucket.reshape(-1)
        flags = torch.nn.functional.one_hot(index, count).to(decays.dtype).t()
        mask, a = flags.reshape(-1, *unit), (flags @ flat) / flags.sum(1).clamp(min=1)
    if sums is None or start.keep is None:
        return Buckets(bucket, mask, a, sums)
    x = tuple(start.masked(v, 1) for v in sums.x)
    h, h_weight = start.masked(sums.h), start.masked(sums.h_weight)
    return Buckets(bucket, mask, a, Sums(h, h_weight, x, start.masked(sums.x_weight, 1), bucket))


def powers(decays: Tensor, steps: int) -> Tensor:
    """Return the weights `[G, T]` with which a window's inputs enter sums of the given decays, `[G]`."""
    if steps == 1:
        return torch.ones_like(decays).unsqueeze(1)
    exponents = torch.arange(steps - 1, -1, -1, device=decays.device, dtype=decays.dtype)
    return decays.unsqueeze(1) ** exponents


def average(buckets: Buckets, window: Window, h: Tensor, q: Tensor) -> Averages:
    """Return the averages at a window's events from decayed sums of sensitivities, `[E, B, *unit]`, and their decay."""
    sums, events = buckets.sums, (h.shape[0], window.steps)
    decays = torch.cat([q.reshape(1), buckets.decays]).to(h).unsqueeze(1)
    past = None if sums is None else torch.cat([sums.h_weight.unsqueeze(0), sums.x_weight])
    h_weight, x_weight = weights(decays, past, events, (len(decays), h.shape[1])).tensor_split([1], dim=1)
    ends = tuple(
        _features(a, buckets.decays, None if sums is None else sums.x[i], window.steps)
        for i, a in enumerate(window.afferents)
    )
    return Averages(h, h_weight.squeeze(1), ends, x_weight, buckets)


def weights(decay: Tensor, start: Tensor | None, events: tuple[int, int], shape: tuple[int, ...]) -> Tensor:
    r"""Return the decayed sums of ones after the last E of T steps, in closed form.

    .. math:: w_t = a^t w_0 + \frac{1 - a^t}{1 - a}

    Args:
        decay: `a`, of any shape that broadcasts to `shape`.
        start: the sum before the window, `[*shape]`; None after a reset.
        events: E and T.
        shape: shape of the sum.

    Returns:
        The sums, `[E, *shape]`.
    """
    count, steps = events
    if steps == 1:
        now = torch.ones((1, *shape), dtype=decay.dtype, device=decay.device)
        return now if start is None else now + decay * start
    a = widened(decay)
    n = torch.arange(steps - count + 1, steps + 1, dtype=a.dtype, device=a.device).reshape(-1, *[1] * len(shape))
    grown = -torch.expm1(n * torch.log1p(a - 1))  # 1 - a ** n would lose the digits that a ** n has in common with 1
    fresh = torch.where(a == 1, n, grown / (1 - a))
    total = fresh if start is None else fresh + (1 - grown) * start
    return total.to(decay.dtype).expand(count, *shape)


def widened(x: Tensor) -> Tensor:
    """Return a few numbers in double precision, where their device has it."""
    return x if x.device.type == "mps" else x.double()


def _features(afferent: Afferent, a: Tensor, start: Tensor | None, steps: int) -> Tensor:
    """Return the decayed sums of an afferent's features at the window's end, `[G, B, *features]`."""
    if afferent.sums is not None:
        return afferent.sums
    features = afferent.features()
    features = features.reshape(steps, -1, *features.shape[1:])
    a = a.to(features.dtype)
    end = features if steps == 1 else torch.tensordot(powers(a, steps), features, dims=1)
    decay = a.reshape(-1, *[1] * (features.dim() - 1))
    if start is not None:
        return end + decay**steps * start
    if steps == 1:
        end = end.clone()  # the caller may write the next input into the same memory
    return end.expand(a.shape[0], *end.shape[1:])
