r"""The smoothed trace of `tt.rules.pp_prop`: a smoothed input times a smoothed sensitivity.

Definition, with the neuron's blocks A, B, D and psi:

.. math:: \hat x_t = \alpha \hat x_{t-1} + x_t, \quad f_t = \alpha A_t f_{t-1} + (1 - \alpha) B_t, \quad
    h_t = \alpha D_t \cdot f_{t-1} + (1 - \alpha) \psi_t
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from tracetorch.backends import Outputs, Save, Scan, Tape, reference
from tracetorch.backends.interface import expanded
from tracetorch.backends.torch import TorchTape
from tracetorch.backends.torch.recurrences import linear_scan
from tracetorch.ops.entries import multiply_add
from tracetorch.traces.base import Context
from tracetorch.traces.leaky import LeakyCredit, LeakyInput
from tracetorch.traces.passing import Start
from tracetorch.traces.window import Window


@dataclass(frozen=True)
class Smoothed(LeakyCredit):
    """Smooth each input and each unit's sensitivity, and take their product; a readout's own trace is exact.

    Args:
        decay: of both, per step.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.pp_prop(decay=0.9).weight
        Smoothed(decay=0.9)
    """

    decay: float

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay is per step, in [0, 1), got {self.decay!r}")

    def leaky(self, context: Context) -> LeakyInput:
        """Return the trace of a layer that is not a readout."""
        return SmoothedTrace(context.input, decay=self.decay)


@dataclass(frozen=True)
class SmoothedTrace(LeakyInput):
    """A smoothed input and a smoothed sensitivity."""

    def factors(self, start: Start, window: Window, outputs: Outputs) -> tuple[Tensor, None, Mapping[str, Tensor]]:
        """Return the smoothed sensitivity of the outputs at each step."""
        a, like = self.decay, window.like
        tape = readable(window.scan, window.tape)
        blocks, rank = tape.blocks(), tape.current.dim()
        transition = [[None if x is None else a * x for x in row] for row in blocks.A]
        drive = [None if x is None else (1 - a) * x for x in blocks.B]
        past = start.level("smoothed", (window.size, *like.shape))
        before, after = linear_scan(transition, drive, list(past.unbind(0)), window.steps, rank=rank)
        h = None if blocks.psi is None else (1 - a) * blocks.psi
        for entry, f in zip(blocks.D, before, strict=True):
            h = multiply_add(h, None if entry is None else a * entry, f)
        return expanded([h], tape.current)[0], None, {"smoothed": expanded(after, like)}


def readable(scan: Scan, tape: Tape) -> TorchTape:
    """Return the tape of a window in the readable backend, which has the Jacobian blocks, from that of any other."""
    if isinstance(tape, TorchTape):
        return tape
    plain = replace(scan, drive=tape.currents(), product=None, recurrent=None, z=None, out=None)
    found = reference().forward(plain, Save(tape=True)).tape
    if not isinstance(found, TorchTape):
        raise TypeError("the readable backend gave no tape of its own")
    return found
