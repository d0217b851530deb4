r"""Pairs: an eligibility as a short sum of outer products of what a unit owes with what an input gave.

Definition. With :math:`h_{k,t} = \partial (s_t, f_t) / \partial I_k`, what the states and the filter above owe to the
current of step k, the full eligibility is a sum over all steps, and neighbours in time are merged into one pair:

.. math:: E_t = \sum_{k \le t} h_{k,t} \otimes x_k \approx \sum_i h_i \otimes x_i, \qquad
    (h, x) = \Big(h_1 + h_2,\ \frac{w_1 x_1 + w_2 x_2}{w_1 + w_2}\Big), \quad w = \lVert h \rVert_1

Each pair advances by its unit's own Jacobians, so that nothing is lost but what a merge drops: the covariance, over
the stretch of time that a pair stands for, of the inputs with how they are weighted by one unit and another. Where all
units weigh them alike, as in the membrane of a shared decay, a merge is exact. With a pair for each step the trace is
the full one.

An exponential histogram: those pairs are merged that are shortest for their age. Source: M. Datar et al., "Maintaining
Stream Statistics over Sliding Windows" (2002), https://doi.org/10.1137/S0097539701398363.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tracetorch.backends import Gradients, Pull
from tracetorch.synapses import Synapse
from tracetorch.traces.base import Context, Trace, WeightCredit
from tracetorch.traces.parameters import advance_parameters, starts
from tracetorch.traces.window import Traces, Window


@dataclass(frozen=True)
class Pairs(WeightCredit):
    """Trace each weight by a bounded number of pairs of a unit's and an input's vector.

    Args:
        pairs: their number at most.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.Pairs(10).pairs
        10
    """

    pairs: int = 10

    def __post_init__(self) -> None:
        if isinstance(self.pairs, bool) or not isinstance(self.pairs, int) or self.pairs < 1:
            raise ValueError(f"pairs is a number of at least 1, got {self.pairs!r}")

    @property
    def storage(self) -> str:
        """Return in a few words what is stored per layer."""
        return f"pairs({self.pairs})"

    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer; raise ValueError where its neuron takes several currents per unit."""
        context.require_one_current()
        return Paired(context.input, context.filter, self)


@dataclass(frozen=True)
class Paired(Trace):
    """A bounded number of pairs, as `kind` says."""

    kind: Pairs = Pairs()

    def advance(self, old: Traces, window: Window) -> Traces:
        """Return the traces after a window."""
        rows = window.rows(Pull(parameters=window.learned))
        neuron = advance_parameters(old.neuron, window, rows, (*window.biases, *window.learned))
        h = torch.stack([row.current for row in rows], 1)  # [T, R, B, *unit]
        lengths = [1] * window.steps
        x = [features.unflatten(0, (window.steps, -1)) for features in (a.features() for a in window.afferents)]
        if "pairs.h" in old.other:
            h = torch.cat([_advanced(old.other["pairs.h"], rows, window), h])
            x = [torch.cat([old.other[f"pairs.x.{i}"], now]) for i, now in enumerate(x)]
            lengths = [*old.other["pairs.length"].tolist(), *lengths]
        groups = merged(lengths, self.kind.pairs)
        if len(groups) < len(lengths):
            h, x, lengths = _merge(h, x, lengths, groups)
        carried = {"pairs.h": h, "pairs.length": torch.tensor(lengths)}
        carried |= {f"pairs.x.{i}": now for i, now in enumerate(x)}
        return Traces(neuron=neuron, other=old.other | carried)

    def contract(
        self, traces: Traces, bar: Tensor, synapses: Sequence[Synapse], size: int
    ) -> list[list[tuple[Tensor, ...]]]:
        """Return the terms of the weights' gradients from cotangents of the carried rows."""
        h = traces.other.get("pairs.h")
        if h is None:
            return [[] for _ in synapses]
        owed = (h * bar).sum(1)  # [m, B, *unit]
        return [
            [synapse.weight_grad(traces.other[f"pairs.x.{i}"].flatten(0, 1), owed.flatten(0, 1))]
            for i, synapse in enumerate(synapses)
        ]


@dataclass
class _Stretch:
    """Neighbouring pairs that become one: how many steps they stand for, and which they are."""

    length: int
    members: list[int] = field(default_factory=list)


def merged(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Return which neighbouring pairs are merged, so that no more than `most` are left.

    Those two are merged first that stand together for the least time, as a share of how long ago it ended.

    Args:
        lengths: number of steps that each pair stands for, the oldest first.
        most: number of pairs that may be left.

    Returns:
        For each pair that is left, the numbers of those that it is made of.

    Example:
        >>> merged([1, 1, 1, 1, 1, 1], 3)
        [[0, 1, 2, 3], [4], [5]]
    """
    stretches = [_Stretch(n, [i]) for i, n in enumerate(lengths)]
    while len(stretches) > most:
        age, best, least = 1, 0, float("inf")
        for i in range(len(stretches) - 2, -1, -1):
            together = stretches[i].length + stretches[i + 1].length
            if together / age < least:
                best, least = i, together / age
            age += stretches[i + 1].length
        first, second = stretches[best : best + 2]
        stretches[best : best + 2] = [_Stretch(first.length + second.length, first.members + second.members)]
    return [s.members for s in stretches]


def _advanced(h: Tensor, rows: Sequence[Gradients], window: Window) -> Tensor:
    """Return what the states and the filter owe after a window, `[m, R, B, *unit]`, from what they owed before it."""
    out = []
    for row in rows:
        factors = starts(row, window)
        out.append(sum((factor * h[:, j] for j, factor in enumerate(factors)), torch.zeros_like(h[:, 0])))
    return torch.stack(out, 1)


def _merge(
    h: Tensor, x: list[Tensor], lengths: list[int], groups: list[list[int]]
) -> tuple[Tensor, list[Tensor], list[int]]:
    index = torch.tensor([g for g, members in enumerate(groups) for _ in members], device=h.device)
    weight = h.abs().flatten(3).sum((1, 3)).clamp(min=torch.finfo(h.dtype).tiny)  # [m, B]
    total = weight.new_zeros(len(groups), weight.shape[1]).index_add_(0, index, weight)
    share = weight / total[index]
    out = h.new_zeros(len(groups), *h.shape[1:]).index_add_(0, index, h)
    means = [
        v.new_zeros(len(groups), *v.shape[1:]).index_add_(
            0, index, v * share.reshape(*share.shape, *[1] * (v.dim() - 2))
        )
        for v in x
    ]
    return out, means, [sum(lengths[i] for i in members) for members in groups]
