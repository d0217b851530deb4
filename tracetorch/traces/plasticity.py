r"""Plasticity by the times of spikes: traces of inputs and of outputs, of all pairs and, in part, of triplets.

Definition, with spikes x of the inputs and z of the units, an input of a step standing before an output of that step:

.. math:: r_t = \sum_{s \le t} e^{-(t-s)/\tau_+} x_s, \quad r'_t = \sum_{s < t} e^{-(t-s)/\tau_x} x_s, \quad
    o_t = \sum_{s < t} e^{-(t-s)/\tau_-} z_s, \quad o'_t = \sum_{s < t} e^{-(t-s)/\tau_y} z_s \\
    e_t = z_t (A_2^+ + A_3^+ o'_t) \otimes r_t - o_t \otimes x_t (A_2^- + A_3^- r'_t)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tracetorch.backends import Outputs
from tracetorch.backends.interface import padded
from tracetorch.backends.torch.recurrences import decayed_sums
from tracetorch.traces.base import Context, weight_grads
from tracetorch.traces.leaky import LeakyCredit, LeakyInput, LeakyInputCredit
from tracetorch.traces.passing import Closed, Pulled, Start, last_of
from tracetorch.traces.window import Afferent, Traces, Window


@dataclass(frozen=True, kw_only=True)
class SpikeTimes(LeakyCredit):
    r"""Trace the spikes of inputs and units, as `tt.rules.stdp` and `triplet_stdp` do; a readout's own trace is exact.

    Args:
        tau_plus: :math:`\tau_+`, of inputs before an output, in steps.
        tau_minus: :math:`\tau_-`, of outputs before an input.
        tau_x: :math:`\tau_x`, of inputs before an input.
        tau_y: :math:`\tau_y`, of outputs before an output.
        pair_plus: :math:`A_2^+`.
        pair_minus: :math:`A_2^-`.
        triplet_plus: :math:`A_3^+`.
        triplet_minus: :math:`A_3^-`.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.stdp(tau_plus=10.0).weight.tau_plus
        10.0
    """

    tau_plus: float
    tau_minus: float
    tau_x: float = 1.0
    tau_y: float = 1.0
    pair_plus: float
    pair_minus: float
    triplet_plus: float = 0.0
    triplet_minus: float = 0.0

    def __post_init__(self) -> None:
        taus = (self.tau_plus, self.tau_minus, self.tau_x, self.tau_y)
        if not all(0 < tau < math.inf for tau in taus):
            raise ValueError(f"time constants are positive numbers of steps, got {taus}")

    def leaky(self, context: Context) -> LeakyInput:
        """Return the trace of a layer that is not a readout."""
        return SpikeTimesTrace(context.input, decay=math.exp(-1 / self.tau_plus), times=self)


@dataclass(frozen=True)
class SpikeTimesTrace(LeakyInput):
    """Traces of the spikes of inputs and units; biases and neuron parameters learn nothing."""

    times: SpikeTimes = field(kw_only=True)

    def factors(
        self, start: Start, window: Window, outputs: Outputs
    ) -> tuple[Tensor, Tensor | None, Mapping[str, Tensor]]:
        """Return what meets the inputs' trace and the inputs at each step."""
        z, times = outputs.z.detach().to(window.like.dtype), self.times
        after, late = _before(z, times.tau_minus, start, "after")
        h, carried = times.pair_plus * z, {"after": late}
        if times.triplet_plus:
            again, carried["again"] = _before(z, times.tau_y, start, "again")
            h = h + times.triplet_plus * again * z
        return h, -after if times.triplet_minus else -times.pair_minus * after, carried

    def close(self, start: Start, window: Window, outputs: Outputs, *, silent: bool, last: bool) -> Closed:
        """Return how a window is credited, and what it leaves to the next."""
        closed, times = super().close(start, window, outputs, silent=silent, last=last), self.times
        carried: dict[str, Tensor] = {}
        scaled: list[Afferent] = []
        for i, afferent in enumerate(window.afferents if times.triplet_minus else ()):
            earlier, carried[f"inputs.{i}"] = _before(afferent.x, times.tau_x, start, f"inputs.{i}")
            x = afferent.x * (times.pair_minus + times.triplet_minus * earlier)
            scaled.append(replace(afferent, given=x, sums=None, version=None))
        past = Traces() if closed.traces is None else closed.traces
        credit = closed.credit
        if isinstance(credit, LeakyInputCredit):
            u = None if scaled else credit.u
            credit = _Credit(self, window, credit.gain, h=credit.h, u=u, after=credit.u, scaled=scaled)
        return Closed(credit, replace(past, other={**past.other, **carried}), closed.pending)

    def advance(self, old: Traces, window: Window) -> Traces:
        """Return the traces after a window."""
        return super().advance(old, replace(window, biases=(), learned=()))


def _before(x: Tensor, tau: float, start: Start, name: str) -> tuple[Tensor, Tensor]:
    """Return the decayed sum of all earlier values at each step, `[T, B, ...]`, and what is carried, `[1, B, ...]`."""
    decay = math.exp(-1 / tau)
    first = start.level(name, (1, *x.shape[1:]))
    sums = torch.cat([first, decayed_sums(x, decay, first[0])])
    return decay * sums[:-1], sums[-1:].clone()


@dataclass(frozen=True)
class _Credit(LeakyInputCredit):
    after: Tensor | None = field(kw_only=True)
    scaled: list[Afferent] = field(kw_only=True)

    def pull(self, z_bar: Tensor, raw: Tensor | None, carry: Tensor, *, below: bool) -> Pulled:
        pulled = super().pull(z_bar, raw, carry, below=below)
        neuron = {name: None if v is None else torch.zeros_like(v) for name, v in pulled.neuron.items()}
        weights = pulled.weights
        if self.scaled and self.after is not None:
            more = weight_grads(self.scaled, padded(last_of(self.after, z_bar) * z_bar, self.window.steps))
            weights = [a if a is None or b is None else a + b for a, b in zip(weights, more, strict=True)]
        return replace(pulled, weights=weights, neuron=neuron)
