r"""The presynaptic trace: one number per state and input.

Definition:

.. math:: \hat E_t = \bar A \hat E_{t-1} + \bar B x_t

It stands for the full eligibility exactly where A and B are constant in time and shared by all units. Over a window:

.. math:: \hat E_T = \bar A^T \hat E_0 + \sum_t \bar A^{T-t} \bar B\, x_t
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tracetorch.backends import Gradients, Pull, Save
from tracetorch.neurons import Neuron
from tracetorch.neurons.blocks import generic_blocks
from tracetorch.neurons.lowering import NotLowered
from tracetorch.synapses import Synapse
from tracetorch.traces.base import Context, Trace, WeightCredit
from tracetorch.traces.parameters import advance_parameters, starts
from tracetorch.traces.passing import Start
from tracetorch.traces.window import Afferent, Numbers, Traces, Window


@dataclass(frozen=True)
class Pre(WeightCredit):
    r"""Trace each input: :math:`\hat E \leftarrow \bar A \hat E + \bar B x`, exact where A and B are constant.

    Args:
        detach_reset: leave the reset's own derivative out of A, by the rule's definition.
        approximate: take the blocks at rest where a layer's are not constant, instead of raising.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.ottt().weight
        Pre(detach_reset=True, approximate=False)
    """

    detach_reset: bool = False
    approximate: bool = False

    storage = "one trace per input"

    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer; raise ValueError where one trace per input cannot represent its neuron."""
        neuron = context.neuron
        exact = neuron.is_constant(detach_reset=self.detach_reset)
        if not exact and (not self.approximate or len(neuron.currents) > 1):
            raise ValueError(
                f"rule {context.rule!r} keeps one trace per input, which cannot represent {_why(neuron)}; "
                f"tt.rules.drtrl() is exact here, or pass approximate=True to take the blocks at rest"
            )
        true = exact and neuron.is_constant()
        return Presynaptic(context.input, context.filter, self.detach_reset, approximate=not true)


def _why(neuron: Neuron) -> str:
    kind, program = neuron._get_name(), neuron.lowered()
    if isinstance(program, NotLowered):
        return f"{kind}, whose step cannot be lowered ({program.reason})"
    if program.currents > 1:
        return f"the {program.currents} currents per unit of {kind}, by the blocks at rest neither"
    decay = neuron.decay
    if decay is not None and decay.numel() > 1:
        return f"{kind} with a decay per neuron"
    return f"the dynamics of {kind} (adaptation, recurrence, a hard reset or a reset that keeps its gradient)"


@dataclass(frozen=True)
class Presynaptic(Trace):
    """One trace per state and input.

    `detach_reset` leaves the reset's own derivative out of A; `approximate` says that A and B are not the neuron's own.
    """

    detach_reset: bool = False
    approximate: bool = False

    @property
    def copies(self) -> int:
        """How often the states stand in the carried rows."""
        return 2 if self.approximate else 1

    def carries(self, *, last: bool) -> bool:
        """Return whether a window without an event costs nothing but what is carried forward."""
        return self.filter is None and not self.window_credit and not self.approximate

    def taped(self, *, silent: bool) -> bool:
        """Return whether a window's tape is read: not over a silent window that the inputs' sums carry forward."""
        return not (silent and self.carries(last=False))

    def reads(self, *, silent: bool, last: bool) -> bool:
        """Return whether a window's inputs are read after its scan: not if their sums carry it forward."""
        return self.taped(silent=silent)

    def numbers(self, neuron: Neuron, like: Tensor) -> Numbers:
        """Return the trace's numbers now."""
        constant = neuron.constant(detach_reset=self.detach_reset)
        a, b = at_rest(neuron, like) if constant is None else constant
        return replace(super().numbers(neuron, like), constant=(a.to(like), b.to(like)))

    def save(self, neuron: Neuron, numbers: Numbers, start: Start, steps: int, *, silent: bool, last: bool) -> Save:
        """Return what a forward scan is asked to save: over a silent window the weighted sums of the inputs alone."""
        found = super().save(neuron, numbers, start, steps, silent=silent, last=last)
        if not silent or numbers.constant is None:
            return found
        weights = power_weights(*numbers.constant, steps)[0].t()
        return Save(True, found.sensitivity, (weights, start.x.new_zeros(()).expand(weights.shape[0], *start.x.shape)))

    def advance(self, old: Traces, window: Window) -> Traces:
        """Return the traces after a window."""
        size, new = window.size, Traces(other=old.other)
        needs_rows = self.approximate or window.filter is not None or bool(window.learned)
        rows: list[Gradients] = []
        if needs_rows and (window.biases or window.learned or (window.filter is not None and not self.approximate)):
            rows = window.rows(Pull(parameters=window.learned))
        if needs_rows:
            new.neuron = advance_parameters(old.neuron, window, rows, (*window.biases, *window.learned))
        else:
            new.neuron = {name: _constant_bias(old.neuron.get(name), window) for name in window.biases}
        above = rows[size:]
        if self.approximate and window.filter is not None:
            above = window.rows(Pull(constant=window.numbers.constant), first=size)
        for i, afferent in enumerate(window.afferents):
            held = old.weight[i] if i < len(old.weight) else []
            filtered = old.filtered[i] if i < len(old.filtered) else []
            traced = afferent.traced
            new.filtered.append(advance_filtered(held, filtered, afferent, window, above) if traced else [])
            new.weight.append(_advance(held, afferent, window) if traced else [])
        return new

    def contract(
        self, traces: Traces, bar: Tensor, synapses: Sequence[Synapse], size: int
    ) -> list[list[tuple[Tensor, ...]]]:
        """Return the terms of the weights' gradients from cotangents of the carried rows."""
        found = super().contract(traces, bar, synapses, size)
        for i, row in enumerate(traces.weight):
            found[i] = [synapses[i].weight_grad(x, bar[j]) for j, x in enumerate(row)] + found[i]
        return found


def at_rest(neuron: Neuron, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the blocks A, `[S, S]`, and B, `[S]`, at zero state and current, averaged over units."""
    zero = like.new_zeros((1, *like.shape[1:]))
    blocks = generic_blocks(neuron, tuple(zero for _ in (*neuron.state, *neuron.counters)), zero, {})
    mean = [[like.new_zeros(()) if x is None else x.mean() for x in row] for row in (*blocks.A, blocks.B)]
    return torch.stack([torch.stack(row) for row in mean[:-1]]), torch.stack(mean[-1])


def power_weights(transition: Tensor, drive: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    r"""Return the weights, `[T, S]`, with which a window's inputs enter a presynaptic trace, and `A^T`, `[S, S]`.

    .. math:: \hat E_T = \bar A^T \hat E_0 + \sum_t \bar A^{T-t} \bar B\, x_t
    """
    if steps == 1:
        return drive.unsqueeze(0), transition
    if transition.shape[0] == 1:
        exponents = torch.arange(steps - 1, -1, -1, device=drive.device, dtype=drive.dtype)
        return transition[0] ** exponents.unsqueeze(1) * drive, transition**steps
    rows = [drive]
    for _ in range(steps - 1):
        rows.append(transition @ rows[-1])
    return torch.stack(rows[::-1]), torch.linalg.matrix_power(transition, steps)


def _advance(held: list[Tensor], afferent: Afferent, window: Window) -> list[Tensor]:
    if window.numbers.constant is None:
        return held
    a, b = window.numbers.constant
    weights, power = power_weights(a, b, window.steps)
    if afferent.sums is not None:
        fresh = list(afferent.sums.unbind(0))
    else:
        features = afferent.features()
        features = features.reshape(window.steps, -1, *features.shape[1:])
        weights = weights.to(features)
        fresh = [torch.tensordot(weights[:, i], features, dims=1) for i in range(b.shape[0])]
    if not held:
        return fresh
    keep = window.keep
    if keep is not None:
        keep = keep.to(fresh[0].dtype).reshape(-1, *[1] * (fresh[0].dim() - 1))
    past = held if keep is None else [x * keep for x in held]
    return [
        f + sum((power[i, j] * past[j] for j in range(len(past))), torch.zeros_like(f)) for i, f in enumerate(fresh)
    ]


def _constant_bias(held: list[Tensor] | None, window: Window) -> list[Tensor]:
    """Return a bias's eligibility where A and B are constant: the trace of an input that is always one."""
    if window.numbers.constant is None:
        return []
    weights, power = power_weights(*window.numbers.constant, window.steps)
    fresh = [total.expand(window.like.shape).contiguous() for total in weights.sum(0)]
    if not held:
        return fresh
    past = [window.masked(x) for x in held]
    return [f + sum(power[i, j] * past[j] for j in range(len(past))) for i, f in enumerate(fresh)]


def units(afferent: Afferent, value: Tensor) -> Tensor:
    """Return `[T, B, *unit]` as `[T, B, G, O, L]`."""
    flat = afferent.synapse.units(value.reshape(-1, *value.shape[2:]))
    return flat.reshape(*value.shape[:2], *flat.shape[1:])


def advance_filtered(
    held: list[Tensor], filtered: list[Tensor], afferent: Afferent, window: Window, rows: Sequence[Gradients]
) -> list[Tensor]:
    r"""Return the M eligibilities behind the filter, `[B, G, O, L, K]`, in place where they are there already.

    .. math:: f \leftarrow a f + b\, e, \qquad e_t = D_t \hat E_{t-1} + \psi_t x_t

    `held` are the S presynaptic traces before the window, `filtered` those behind the filter, none after a reset;
    `rows` are the reverse passes of unit cotangents of the filter's states.
    """
    synapse, size, out = afferent.synapse, window.size, []
    patches = afferent.patches() if rows else None
    for row in rows:
        if patches is None:
            break
        total = synapse.outer(units(afferent, row.current), patches)
        factors = starts(row, window)
        for factor, trace in zip(factors[size:], filtered, strict=False):
            total = total.addcmul_(synapse.units(factor).unsqueeze(-1), trace)
        for factor, trace in zip(factors[:size], held, strict=False):
            features = synapse.patches(trace).unsqueeze(0)
            total = total.add_(synapse.outer(synapse.units(factor).unsqueeze(0), features))
        out.append(total)
    return replaced(filtered, out)


def replaced(old: list[Tensor], new: list[Tensor]) -> list[Tensor]:
    """Return new traces in the memory of the old ones, where there are any and no graph is being compiled."""
    if not old or torch.compiler.is_compiling():  # a graph keeps what its backward reads apart from what it is given
        return new
    for target, value in zip(old, new, strict=True):
        target.copy_(value)
    return old
