r"""Real-time recurrent learning within a layer: the effect of each weight on every unit, and its diagonal (SnAp-1).

Definition, with the recurrent weights R, through which a weight's effect on one unit's output reaches the others:

.. math:: \frac{dI_t}{dW} = \mathbb 1 \otimes x_t + R\, e_{t-1}, \qquad
    e_t = D_t E_{t-1} + \psi_t \frac{dI_t}{dW}, \qquad E_t = A_t E_{t-1} + B_t \frac{dI_t}{dW}

SnAp-1 has the diagonal of R instead, so that a unit's weights have no effect but on that unit. In a layer without a
recurrent synapse both are the full eligibility. Inside a window credit goes back through recurrent outputs, so what is
carried has one more row, that of the last outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tracetorch.backends import Cotangents, Gradients, Outputs, Pull
from tracetorch.backends.torch import TorchTape
from tracetorch.synapses import LinearSynapse, Synapse
from tracetorch.traces.bank import OutputFilter
from tracetorch.traces.base import Context, InputCredit, Trace
from tracetorch.traces.eligibility import Eligibility, Full
from tracetorch.traces.parameters import contract_parameter, starts
from tracetorch.traces.passing import Closed, Start
from tracetorch.traces.presynaptic import units
from tracetorch.traces.smoothed import readable
from tracetorch.traces.window import Traces, Window


@dataclass(frozen=True)
class Rtrl(Full):
    """Trace each weight's effect on every unit of its layer: exact with dense recurrence, for small layers.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.rtrl().weight
        Rtrl()
    """

    inputs = ("psi", "gain")
    storage = "full, for every unit"

    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer; raise ValueError where a unit takes several currents."""
        return Everywhere(*checked(context))


@dataclass(frozen=True)
class SnAp(Full):
    """Trace each weight's effect on its own unit, the unit's recurrent weight to itself included: SnAp-1.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.snap1().weight
        SnAp()
    """

    inputs = ("psi", "gain")

    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer; raise ValueError where a unit takes several currents."""
        return SelfFed(*checked(context))


def checked(context: Context) -> tuple[InputCredit, OutputFilter | None]:
    """Return what a trace is made of; raise ValueError where a unit takes several currents."""
    if len(context.neuron.currents) > 1:
        raise ValueError(f"rule {context.rule!r} cannot trace several currents per unit; tt.rules.drtrl() can")
    return context.input, context.filter


@dataclass(frozen=True)
class Fed(Eligibility):
    """An eligibility with a row for recurrent outputs."""

    counts = False  # the cotangents of a spike count are a learning signal like others
    fed = True
    traces_fed = True


@dataclass(frozen=True)
class SelfFed(Fed):
    """Each unit's outputs reach that unit again, and no other."""

    def close(self, start: Start, window: Window, outputs: Outputs, *, silent: bool, last: bool) -> Closed:
        """Return how a window is credited, and what it leaves to the next."""
        if window.scan.recurrent is not None:
            window = replace(window, tape=_diagonal(window, window.scan.recurrent))
        return super().close(start, window, outputs, silent=silent, last=last)

    def rows_over(self, window: Window) -> list[Gradients]:
        """Return the reverse passes of unit cotangents of all carried rows after a window."""
        if window.scan.recurrent is None:
            return super().rows_over(window)
        count = self.rows(window)
        return [pulled(window, one_row(k, count, torch.ones_like(window.like))) for k in range(count)]


@dataclass(frozen=True)
class Everywhere(Fed):
    """Each unit's outputs reach all units: eligibilities `[B, units, G, O, K]`, one for each carried row."""

    def advance(self, old: Traces, window: Window) -> Traces:
        """Return the traces after a window."""
        if window.scan.recurrent is None:
            return super().advance(old, window)
        with torch.autocast(window.like.device.type, enabled=False):  # traces stay in the dtype of the states
            return self._advanced(old, window)

    def _advanced(self, old: Traces, window: Window) -> Traces:
        batch, count = window.like.shape[0], window.like[0].numel()
        each = torch.eye(count).to(window.like).unsqueeze(1).expand(-1, batch, -1).unflatten(2, window.unit)
        kinds = self.rows(window)
        table = [[pulled(window, one_row(k, kinds, one)) for one in each] for k in range(kinds)]
        owed = [[starts(g, window) for g in row] for row in table]
        reached = [[torch.stack(x, 1).flatten(2) for x in zip(*row, strict=True)] for row in owed]

        def after(now: Callable[[Gradients], Tensor], past: Sequence[Tensor]) -> list[Tensor]:
            new = [torch.stack([now(g) for g in row], 1) for row in table]
            for value, factors in zip(new, reached, strict=True):
                for factor, e in zip(factors, past, strict=False):
                    value += torch.einsum("bnm,bm...->bn...", factor, e)
            return new

        new = Traces(other=old.other)
        for name in (*window.biases, *window.learned):
            bias = name in window.biases
            new.neuron[name] = after(
                lambda g, n=name, b=bias: g.current.sum(0) if b else g.parameters[n],  # type: ignore[misc]
                old.neuron.get(name, []),
            )
        for i, afferent in enumerate(window.afferents):
            past = old.weight[i] if i < len(old.weight) else []
            patches = afferent.patches() if afferent.traced else None
            new.weight.append(
                []
                if patches is None
                else after(lambda g, a=afferent, p=patches: a.synapse.outer(units(a, g.current), p).sum(3), past)  # type: ignore[misc]
            )
        return new

    def contract(
        self, traces: Traces, bar: Tensor, synapses: Sequence[Synapse], size: int
    ) -> list[list[tuple[Tensor, ...]]]:
        """Return the terms of the weights' gradients from cotangents of the carried rows."""
        if len(synapses) == 1:
            return super().contract(traces, bar, synapses, size)
        return [
            [s.fold(torch.einsum("bn,bngok->gok", bar[k].flatten(1), e)) for k, e in enumerate(row)]
            for s, row in zip(synapses, traces.weight, strict=True)
        ]

    def contract_neuron(self, traces: Traces, name: str, bar: Tensor) -> Tensor | None:
        """Return the gradient of a bias or a neuron parameter per unit, `[B, *unit]`; None where nothing is carried."""
        rows = traces.neuron.get(name)
        if not rows or rows[0].dim() == bar[0].dim():
            return contract_parameter(traces, name, bar)
        return torch.stack([torch.einsum("bn,bn...->b...", bar[k].flatten(1), e) for k, e in enumerate(rows)]).sum(0)


def one_row(kind: int, count: int, one: Tensor) -> Tensor:
    """Return cotangents of carried rows, `[rows, B, *unit]`, that are zero but for one row."""
    rows = one.new_zeros(count, *one.shape)
    rows[kind] = one
    return rows


def pulled(window: Window, rows: Tensor) -> Gradients:
    """Return the reverse pass of cotangents of the carried rows after a window, `[rows, B, *unit]`."""
    filter, size = window.filter, window.size
    level = None if filter is None else rows[size:-1]
    cotangents = Cotangents(torch.zeros_like(rows[:1]), rows[:size], filter=filter, level=level, fed=rows[-1])
    return window.tape.reverse(cotangents, Pull(parameters=window.learned))


def _diagonal(window: Window, recurrent: Synapse) -> TorchTape:
    """Return the window's tape with the diagonal of the recurrent weights instead of all of them."""
    dense = recurrent.dense()
    if dense is None:
        raise ValueError(
            f"SnAp-1 reads the diagonal of a dense recurrent synapse, an nn.Linear, got "
            f"{type(recurrent.module).__name__}; tt.rules.rtrl() takes any, tt.rules.drtrl() leaves these paths out"
        )
    weight = dense[0].detach()
    own = nn.Linear(len(weight), len(weight), bias=False, device="meta")  # where no random numbers are drawn
    own.weight = nn.Parameter(weight.diagonal().diag(), requires_grad=False)
    tape = readable(window.scan, window.tape)
    scan = replace(window.scan, recurrent=LinearSynapse(own))
    return TorchTape(scan, tape.before, tape.current, [window.like] * window.steps)
