"""A rule: one valid point on the axes of weight credit, input credit, window and feedback."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tracetorch.feedback import Feedback, Symmetric
from tracetorch.neurons import Neuron, Readout
from tracetorch.rules.above import Above, Credited, FixedDecay, Present, one_decay, same_decay
from tracetorch.rules.chains import AllMemory, Hopped, inside
from tracetorch.traces import Auto, Context, Factor, Full, Graph, Pairs, Pre, Trace, WeightCredit
from tracetorch.traces.bank import OutputFilter
from tracetorch.traces.base import InputCredit

Window = Literal["step", "call", "sequence", "all"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a layer is credited: a frozen value that only valid combinations can be built of.

    Args:
        name: what messages and tables call it.
        weight: credit of the weights: `NoTrace`, `Pre`, `Full`, `Pairs`, `Auto`, `Factor` or `Graph`, all in
            `tracetorch.rules`.
        input: what is sent to the layer below, times the learning signal: `window` (autograd inside the window), `psi`
            (the surrogate alone), `gain` (the sensitivity to a constant current), `trace` (its average) or `cascade`
            (the sensitivity behind the memory above).
        window: `step`, `call` (one call or scan), `sequence` (one scan of a whole sequence) or `all`.
        feedback: the matrix through which credit reaches the layer below.
        above: what of the layers above a layer its traces account for: `Present()` (nothing), `ReadoutMemory(kappa)` or
            `AllMemory()`.

    Raises:
        ValueError: if the combination is impossible; the message says why.

    Example:
        >>> import tracetorch as tt
        >>> tt.rules.ottt() == tt.rules.ottt()
        True
    """

    name: str
    weight: WeightCredit
    input: InputCredit
    window: Window
    feedback: Feedback = field(default_factory=Symmetric)
    above: Credited = field(default_factory=Present)

    def __post_init__(self) -> None:
        if self.input not in ("window", "psi", "gain", "trace", "cascade"):
            raise ValueError(f"input must be 'window', 'psi', 'gain', 'trace' or 'cascade', got {self.input!r}")
        if self.window not in ("step", "call", "sequence", "all"):
            raise ValueError(f"window must be 'step', 'call', 'sequence' or 'all', got {self.window!r}")
        for wrong, why in self._impossible():
            if wrong:
                raise ValueError(f"rule {self.name!r} cannot be built: {why}")

    def _impossible(self) -> list[tuple[bool, str]]:
        window_credit = self.input == "window"
        factor = isinstance(self.weight, Factor)
        return [
            (
                isinstance(self.weight, Graph) != (self.window == "all"),
                "weight=Graph() keeps the whole graph, so it goes with window='all', and only with it",
            ),
            (
                window_credit and self.window in ("step", "sequence"),
                "input='window' sends autograd's own credit, which needs window='call' or 'all'; take input='psi'",
            ),
            (
                not window_credit and self.window in ("call", "all"),
                f"input={self.input!r} is instantaneous, so the window is 'step'; take input='window'",
            ),
            (
                self.input not in self.weight.inputs,
                f"weight={self.weight!r} goes with input={' or '.join(map(repr, self.weight.inputs))}",
            ),
            (
                window_credit and not isinstance(self.feedback, Symmetric),
                "inside a window credit is autograd's, through the weights themselves; take feedback=Symmetric()",
            ),
            (
                not isinstance(self.above, Present) and not isinstance(self.weight, Auto | Full | Pairs | Pre),
                f"above={self.above!r} filters an eligibility, so it needs weight=Full(), Pairs(), Auto() or Pre()",
            ),
            (
                not isinstance(self.above, Present) and window_credit,
                f"above={self.above!r} stands for the memory of layers above, which a window has itself",
            ),
            (
                isinstance(self.above, AllMemory) != (self.input == "cascade"),
                "above=AllMemory() reads cotangents behind the memory above, as input='cascade' sends them: take both",
            ),
            (
                self.window == "sequence" and not (factor and self.weight == Factor(uniform=True)),
                "window='sequence' reads one average over the whole sequence; take weight=Factor(uniform=True)",
            ),
            (
                isinstance(self.weight, Factor)
                and self.weight.decay is not None
                and (self.weight.uniform or not 0 < self.weight.decay <= 1),
                "Factor takes either uniform=True or a decay in (0, 1]",
            ),
            (
                isinstance(self.weight, Factor) and self.weight.buckets < 1,
                "Factor needs at least one bucket",
            ),
        ]

    def trace(
        self, neuron: Neuron, unit: tuple[int, ...], above: Above, *, entries: int = 0, shared: bool = True
    ) -> Trace:
        """Return the trace of one layer.

        Args:
            neuron: the layer's neuron.
            unit: shape of its units.
            above: what is above it in the network.
            entries: number of numbers of one full eligibility, per row of the batch.
            shared: whether all units see an input by the same features, as they do but behind a norm.

        Returns:
            The trace.

        Raises:
            ValueError: if the rule cannot represent the neuron, or the output filter has no single decay.
        """
        if not (shared or self.weight.per_unit):
            raise ValueError(
                f"rule {self.name!r} pairs one memory of the inputs with the units, and behind a norm over the batch "
                f"(tt.BatchNormed) an input means another thing to each unit; tt.rules.drtrl() and "
                f"tt.rules.traced_bptt() are exact here, tt.rules.sltt() has no trace, or put the norm in evaluation "
                f"into the weights, layer.synapse.folded()"
            )
        filter: OutputFilter | None
        if not isinstance(self.weight, Factor):
            filter = self.above.filter(self.name, neuron, above)
        elif self.weight.decay is not None or self.weight.uniform or above.readout is None:
            filter = FixedDecay(self.weight.decay or 0.0)
        else:
            filter = one_decay(self.name, above.readout, "decay")
        if self.above.hops and above.itself is not None:
            if len(neuron.currents) > 1:
                raise ValueError(
                    f"rule {self.name!r} sends one signal per unit back through the recurrent synapse at each hop, and "
                    f"{neuron._get_name()} takes several currents per unit ({', '.join(neuron.currents)}); take hops=0"
                )
            filter = Hopped(filter, above.itself, self.above.hops, len(neuron.state))
        context = Context(
            self.name, neuron, unit, self.sends(neuron), filter, self.window == "sequence", entries, shared
        )
        return self.weight.trace(context)

    def sends(self, neuron: Neuron) -> InputCredit:
        """Return what a layer sends below: `input`, or `inside` for the credit of its own Jacobians.

        Args:
            neuron: the layer's neuron.

        Returns:
            What is sent.
        """
        return "inside" if self.input == "cascade" and inside(neuron) else self.input

    @property
    def derives(self) -> bool:
        """Whether a layer's first step is the same whatever is above, so that it may be learned from that step."""
        return isinstance(self.weight, Factor) and self.weight.decay is None and not self.weight.uniform

    def agrees(self, neuron: Neuron, above: Above, consumer: Neuron, beyond: Above) -> bool:
        """Return whether a layer may feed another one, given what it was told is above it.

        Args:
            neuron: the layer's neuron.
            above: what it was told is above it.
            consumer: the neuron of the layer that it feeds.
            beyond: what is above that layer.

        Returns:
            Whether it may.
        """
        if self.derives:
            fed = consumer if isinstance(consumer, Readout) else beyond.readout
            return isinstance(neuron, Readout) or (above.known and same_decay(above.readout, fed))
        return self.above.agrees(above, neuron, consumer)

    def __str__(self) -> str:
        return self.name
