r"""Rules without a trace: autograd's own graph, or nothing before the window.

Definition: inside a window credit is that of BPTT where `input="window"`, else that of each step alone, `q = psi L`.
What the window inherits is the graph itself (`InGraph`) or is not credited (`Untraced`).
"""

from __future__ import annotations

from dataclasses import dataclass

from tracetorch.backends import Outputs, Save
from tracetorch.neurons import Neuron
from tracetorch.traces.base import Context, Trace, WeightCredit
from tracetorch.traces.passing import Closed, Start
from tracetorch.traces.window import Numbers, Window


@dataclass(frozen=True)
class Graph(WeightCredit):
    """Keep the graph itself: nothing is traced, memory grows with time.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.bptt().weight
        Graph()
    """

    per_unit = True
    storage = "the graph"

    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer."""
        return InGraph("window")


@dataclass(frozen=True)
class NoTrace(WeightCredit):
    """Credit nothing before the window.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.sltt().weight
        NoTrace()
    """

    per_unit = True
    storage = "none"

    def trace(self, context: Context) -> Trace:
        """Return the trace of one layer."""
        return Untraced(context.input)


@dataclass(frozen=True)
class Untraced(Trace):
    """Nothing is carried for credit."""

    @property
    def linked(self) -> bool:
        """Whether credit passes from step to step inside a window."""
        return self.window_credit

    def carries(self, *, last: bool) -> bool:
        """Return whether a window without an event costs nothing but what is carried forward."""
        return not self.window_credit

    def reads(self, *, silent: bool, last: bool) -> bool:
        """Return whether a window's inputs are read after its scan: by its events."""
        return not silent

    def save(self, neuron: Neuron, numbers: Numbers, start: Start, steps: int, *, silent: bool, last: bool) -> Save:
        """Return what a forward scan is asked to save."""
        return Save(tape=not silent, sensitivity=self.sensitivity(neuron, numbers, start, history=not (silent or last)))

    def close(self, start: Start, window: Window, outputs: Outputs, *, silent: bool, last: bool) -> Closed:
        """Return how a window is credited; it leaves nothing."""
        return Closed(super().close(start, window, outputs, silent=silent, last=last).credit, None, None)


@dataclass(frozen=True)
class InGraph(Trace):
    """The carried rows keep their graph from call to call."""

    in_graph = True

    def close(self, start: Start, window: Window, outputs: Outputs, *, silent: bool, last: bool) -> Closed:
        """Return how a window is credited; it leaves nothing."""
        return Closed(super().close(start, window, outputs, silent=silent, last=last).credit, None, None)
