r"""An unbiased estimate of rank one of the effect of all weights on all units: UORO.

Definition. With the state :math:`h` of a layer (states of all units, of the filter above, and the last outputs), the
influence :math:`G_t = dh_t / dW = J_t G_{t-1} + H_t`, where :math:`J_t = \partial h_t / \partial h_{t-1}` and
:math:`H_t = \partial h_t / \partial W`, is replaced by a product of two vectors. With random signs :math:`\nu`:

.. math:: \tilde h_t = \rho_0 J_t \tilde h_{t-1} + \rho_1 \nu, \quad
    \tilde W_t = \tilde W_{t-1} / \rho_0 + \nu^\top H_t / \rho_1, \quad E[\tilde h_t \otimes \tilde W_t] = G_t \\
    \rho_0^2 = |\tilde W_{t-1}| / |J_t \tilde h_{t-1}|, \qquad \rho_1^2 = |\nu^\top H_t| / |\nu|

:math:`J_t` is that of a whole window, and credit inside a window is exact. Each row of the batch has its own signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tracetorch.backends import Outputs
from tracetorch.backends.torch.recurrences import filter_forward
from tracetorch.ops.entries import at, multiply_add
from tracetorch.synapses import Synapse
from tracetorch.traces.base import Context, Trace
from tracetorch.traces.parameters import contract_parameter
from tracetorch.traces.passing import Closed, Start
from tracetorch.traces.presynaptic import units
from tracetorch.traces.recurrent import Everywhere, Rtrl, checked, pulled
from tracetorch.traces.smoothed import readable
from tracetorch.traces.window import Traces, Window

TANGENT, SIGNS = "tangent", "signs"


@dataclass(frozen=True)
class RankOne(Rtrl):
    """Trace the effect of all weights on all units by an unbiased estimate of rank one, as `tt.rules.uoro` does.

    Args:
        seed: of the generator of its signs, which goes on from layer to layer and from sequence to sequence.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.uoro(seed=1).weight
        RankOne(seed=1)
    """

    seed: int = 0
    generator: torch.Generator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "generator", torch.Generator().manual_seed(self.seed))

    storage = "rank one, random"

    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer; raise ValueError where a unit takes several currents."""
        return RankOneTrace(*checked(context), generator=self.generator)


@dataclass(frozen=True)
class RankOneTrace(Everywhere):
    """Two vectors; a layer without a recurrent synapse has its full eligibility."""

    generator: torch.Generator = field(kw_only=True, repr=False, compare=False)

    def close(self, start: Start, window: Window, outputs: Outputs, *, silent: bool, last: bool) -> Closed:
        """Return how a window is credited, and what it leaves to the next: its signs are drawn here."""
        closed = super().close(start, window, outputs, silent=silent, last=last)
        if window.scan.recurrent is None:
            return closed
        drawn = torch.randint(2, (self.rows(window), *window.like.shape), generator=self.generator)
        past = Traces() if closed.traces is None else closed.traces
        signs = (2 * drawn - 1).to(window.like)
        return replace(closed, traces=replace(past, other=past.other | {SIGNS: signs}))

    @torch.no_grad()
    def _advanced(self, old: Traces, window: Window) -> Traces:
        signs = old.other[SIGNS]
        own = pulled(window, signs)
        now = Traces()
        for afferent in window.afferents:
            patches = afferent.patches() if afferent.traced else None
            outer = None if patches is None else afferent.synapse.outer(units(afferent, own.current), patches).sum(3)
            now.weight.append([] if outer is None else [outer])
        now.neuron = {name: [own.current.sum(0)] for name in window.biases}
        now.neuron |= {name: [own.parameters[name]] for name in window.learned}
        rho = _root(_norm(now), _norm_of([signs], 1))
        tangent = old.other.get(TANGENT)
        if tangent is None:
            return replace(_scaled(now, 1 / rho), other=old.other | {TANGENT: _rows(rho, signs) * signs})
        reached = _tangent(window, window.masked(tangent))
        kept = _root(_norm(old), _norm_of([reached], 1))
        past = _scaled(old, 1 / kept if window.keep is None else window.keep.to(kept.dtype) / kept)
        tangent = _rows(kept, reached) * reached + _rows(rho, signs) * signs
        return replace(_added(_scaled(now, 1 / rho), past), other=old.other | {TANGENT: tangent})

    def contract(
        self, traces: Traces, bar: Tensor, synapses: Sequence[Synapse], size: int
    ) -> list[list[tuple[Tensor, ...]]]:
        """Return the terms of the weights' gradients from cotangents of the carried rows."""
        tangent = traces.other.get(TANGENT)
        if tangent is None:
            return super().contract(traces, bar, synapses, size)
        factor = (bar * tangent).transpose(0, 1).flatten(1).sum(1)
        return [
            [s.fold(torch.einsum("b,bgok->gok", factor, e)) for e in row]
            for s, row in zip(synapses, traces.weight, strict=True)
        ]

    def contract_neuron(self, traces: Traces, name: str, bar: Tensor) -> Tensor | None:
        """Return the gradient of a bias or a neuron parameter per unit, `[B, *unit]`; None where nothing is carried."""
        tangent, rows = traces.other.get(TANGENT), traces.neuron.get(name)
        if tangent is None or not rows:
            return contract_parameter(traces, name, bar)
        return _rows((bar * tangent).transpose(0, 1).flatten(1).sum(1), rows[0].unsqueeze(0))[0] * rows[0]


def _tangent(window: Window, rows: Tensor) -> Tensor:
    """Return what a change of the carried rows before a window, `[rows, B, *unit]`, comes to after it."""
    tape, filter, size = readable(window.scan, window.tape), window.filter, window.size
    blocks, steps, rank = tape.blocks(), window.steps, tape.current.dim()
    s, level, fed = list(rows[:size].unbind(0)), rows[size:-1], rows[-1]
    recurrent = window.scan.recurrent
    none = None if recurrent is None else _current(recurrent, torch.zeros_like(fed))
    for step in range(steps):
        current = None if recurrent is None or none is None else _current(recurrent, fed) - none
        factors = [[None if x is None else at(x, step, steps, rank) for x in row] for row in (*blocks.A, blocks.D)]
        direct = [None if x is None else at(x, step, steps, rank) for x in (*blocks.B, blocks.psi)]
        after = []
        for row, drive in zip(factors, direct, strict=True):
            total = multiply_add(torch.zeros_like(fed), drive, current)
            for factor, value in zip(row, s, strict=True):
                total = multiply_add(total, factor, value)
            after.append(torch.zeros_like(fed) if total is None else total)
        *s, fed = after
        if filter is not None:
            level = filter_forward(filter, fed.unsqueeze(0), level)[1]
    return torch.cat([torch.stack(s), level, fed.unsqueeze(0)])


def _current(recurrent: Synapse, z: Tensor) -> Tensor:
    return recurrent.current(z.to(recurrent.weights()[0].dtype)).to(z.dtype)


def _norm_of(values: Sequence[Tensor], lead: int) -> Tensor:
    """Return the length of all values of each row, `[B]`."""
    return torch.stack([x.transpose(0, lead).flatten(1).square().sum(1) for x in values]).sum(0).sqrt()


def _norm(traces: Traces) -> Tensor:
    return _norm_of([x for row in (*traces.weight, *traces.neuron.values()) for x in row], 0)


def _root(one: Tensor, other: Tensor) -> Tensor:
    """Return the root of a ratio; one where either is zero, so that nothing is divided by it."""
    usable = (one > 0) & (other > 0)
    return torch.where(usable, one / torch.where(usable, other, torch.ones_like(other)), torch.ones_like(one)).sqrt()


def _rows(factor: Tensor, like: Tensor) -> Tensor:
    """Return a factor for each row in a shape that multiplies `[rows, B, ...]`."""
    return factor.reshape(1, -1, *[1] * (like.dim() - 2))


def _scaled(traces: Traces, factor: Tensor) -> Traces:
    def one(row: list[Tensor]) -> list[Tensor]:
        return [x * factor.reshape(-1, *[1] * (x.dim() - 1)) for x in row]

    return Traces([one(row) for row in traces.weight], [], {name: one(row) for name, row in traces.neuron.items()})


def _added(traces: Traces, past: Traces) -> Traces:
    """Return the sum; what the past has no value for is as it is now."""

    def one(row: list[Tensor], before: list[Tensor]) -> list[Tensor]:
        return [x + y for x, y in zip(row, before, strict=True)] if before else row

    neuron = {name: one(row, past.neuron.get(name, [])) for name, row in traces.neuron.items()}
    return Traces([one(*rows) for rows in zip(traces.weight, past.weight, strict=True)], [], neuron)
