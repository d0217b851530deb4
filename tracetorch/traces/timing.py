"""The spike-timing trace of `tt.rules.s_tllr`: a number per input and one per unit, whatever the neuron's memory is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tracetorch.backends import Cotangents, Outputs, Pull
from tracetorch.backends.torch.recurrences import decayed_sums
from tracetorch.traces.base import Context
from tracetorch.traces.leaky import LeakyCredit, LeakyInput
from tracetorch.traces.passing import Start
from tracetorch.traces.window import Window


@dataclass(frozen=True)
class Timing(LeakyCredit):
    """Trace inputs and surrogate derivatives, as `tt.rules.s_tllr` does; a readout's own trace is exact.

    Args:
        lambda_pre: decay per step of the inputs' trace.
        lambda_post: decay per step of the trace of surrogate derivatives.
        alpha_pre: weight of the causal term.
        alpha_post: weight of the acausal term.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.s_tllr(lambda_pre=0.9).weight.lambda_pre
        0.9
    """

    lambda_pre: float
    lambda_post: float
    alpha_pre: float = 1.0
    alpha_post: float = -1.0

    def __post_init__(self) -> None:
        if not (0 <= self.lambda_pre <= 1 and 0 <= self.lambda_post <= 1):
            raise ValueError(f"lambda_pre and lambda_post are decays per step in [0, 1], got {self}")

    def leaky(self, context: Context) -> LeakyInput:
        """Return the trace of a layer that is not a readout."""
        return SpikeTiming(context.input, decay=self.lambda_pre, timing=self)


@dataclass(frozen=True)
class SpikeTiming(LeakyInput):
    """Traces of inputs and of surrogate derivatives."""

    timing: Timing = field(kw_only=True)

    def factors(self, start: Start, window: Window, outputs: Outputs) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """Return the surrogate derivatives of all steps, and their trace before each step."""
        like, rule = window.like, self.timing
        ones = Cotangents(like.new_ones(window.steps, *like.shape), like.new_zeros(window.size, *like.shape))
        psi = window.tape.reverse(ones, Pull(linked=False)).current
        first = start.level("post", (1, *like.shape))
        post = torch.cat([first, decayed_sums(psi, rule.lambda_post, first[0])])
        return rule.alpha_pre * psi, rule.alpha_post * post[:-1], {"post": post[-1:].clone()}
