"""A rule: one valid point on the axes of weight credit, input credit, window and feedback."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tracetorch.feedback import Feedback, Symmetric
from tracetorch.traces.credit import Factor, Full, Graph, NoTrace, Pre, WeightCredit

InputCredit = Literal["window", "psi", "gain", "trace"]
Window = Literal["step", "call", "sequence", "all"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Say how a layer is credited; a frozen value that only valid combinations can be built of.

    Args:
        name: what messages and tables call it.
        weight: credit of the weights: `NoTrace`, `Pre`, `Full`, `Factor` or `Graph`, all in `tracetorch.rules`.
        input: what is sent to the layer below, times the learning signal: `window` (autograd inside the window), `psi`
            (the surrogate alone), `gain` (the sensitivity to a constant current) or `trace` (its average).
        window: `step`, `call` (one call or scan), `sequence` (one scan of a whole sequence) or `all`.
        feedback: the matrix through which credit reaches the layer below.
        kappa: decay of the output filter per step; None finds it from the network, 0 turns it off.

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
    kappa: float | None = 0.0

    def __post_init__(self) -> None:
        if self.input not in ("window", "psi", "gain", "trace"):
            raise ValueError(f"input must be 'window', 'psi', 'gain' or 'trace', got {self.input!r}")
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
                factor != (self.input == "trace"),
                "weight=Factor() reads cotangents as ones on averages, so it goes with input='trace', and only with it",
            ),
            (
                window_credit and not isinstance(self.feedback, Symmetric),
                "inside a window credit is autograd's, through the weights themselves; take feedback=Symmetric()",
            ),
            (
                self.kappa != 0 and not isinstance(self.weight, Full | Pre),
                f"the output filter kappa={self.kappa!r} filters an eligibility, so it needs weight=Full() or Pre()",
            ),
            (
                self.kappa != 0 and window_credit,
                "the output filter stands for the readout's memory, which a window has itself; take kappa=0",
            ),
            (
                self.kappa is not None and not 0 <= self.kappa <= 1,
                f"kappa is a decay per step in [0, 1], got {self.kappa!r}",
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

    @property
    def traces_neuron(self) -> bool:
        """Whether neuron parameters are credited with the past, by their own traces."""
        return not isinstance(self.weight, Graph | NoTrace)

    def __str__(self) -> str:
        return self.name
