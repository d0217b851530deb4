"""A layer as the compiled step program serves it, and the reasons why it does not serve others."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.backends.numba.packed import FLOATS
from tracetorch.backends.numba.steps.layout import AVERAGED, FULL, NONE, PAIRED, PRE
from tracetorch.engine import Core
from tracetorch.neurons import Neuron, effective_parameters
from tracetorch.neurons.lowering import Lowered, NotLowered
from tracetorch.rules.above import FixedDecay, ReadoutDecay
from tracetorch.rules.chains import MeanResponses
from tracetorch.synapses import effective_bias, effective_weight
from tracetorch.traces import Averaged, Eligibility, InGraph, Paired, Presynaptic, Trace, Untraced
from tracetorch.traces.bank import OutputFilter

KINDS: dict[type[Trace], int] = {
    Untraced: NONE,
    Presynaptic: PRE,
    Eligibility: FULL,
    Averaged: AVERAGED,
    Paired: PAIRED,
}
"""Traces that the program knows, by what it calls them; any other is refused."""
FILTERS: tuple[type[OutputFilter], ...] = (FixedDecay, ReadoutDecay, MeanResponses)
"""Filters of outputs that it knows."""
CREDITS = ("window", "psi", "gain", "trace", "cascade")
"""Credits sent below that it knows."""


def why_not() -> str:
    """Return why compiled steps cannot run here; empty where they can."""
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed; pip install numba"
    return ""


@dataclass(frozen=True, eq=False)
class Part:
    """A layer that the step program can run.

    Args:
        name: its module name.
        core: what it holds beside its modules.
        synapse: its synapse.
        recurrent: its recurrent synapse, or None.
        neuron: its neuron.
        feedback: fixed matrix through which credit goes below, or None.
        trace: its trace.
        lowered: its neuron's step.
        learned: names of the neuron's parameters that learn.
        known: where the neuron notes its step, until something is assigned to it.
    """

    name: str
    core: Core
    synapse: nn.Linear
    recurrent: nn.Linear | None
    neuron: Neuron
    feedback: Tensor | None
    trace: Trace
    lowered: Lowered
    learned: tuple[str, ...]
    known: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        known = self.neuron.__dict__.get("_lowered", {})
        if False in known and not known["reads"]:  # else the step may change without an assignment to the neuron
            object.__setattr__(self, "known", known)

    @property
    def kind(self) -> int:
        """What the program calls its trace."""
        return KINDS[type(self.trace)]

    @property
    def weights(self) -> list[Tensor | None]:
        """Weight, bias, recurrent weight, recurrent bias; None for what there is not."""
        found: list[Tensor | None] = []
        for one in (self.synapse, self.recurrent):
            found += [None, None] if one is None else [effective_weight(one), effective_bias(one)]
        return found

    @property
    def sources(self) -> list[Neuron]:
        """Neurons on whose numbers those of the trace depend."""
        found = [self.neuron] if self.kind == AVERAGED else []
        above = self.trace.filter
        if isinstance(above, ReadoutDecay):
            found.append(self.neuron if above.readout is None else above.readout)
        if isinstance(above, MeanResponses):
            found += above.above.neurons
        return found

    def same_step(self) -> bool:
        """Return whether the neuron's step is still the one that was lowered."""
        known = self.neuron.__dict__.get("_lowered")
        return (known is not None and known is self.known) or self.neuron.lowered() is self.lowered

    def learns(self) -> Mapping[str, Tensor]:
        """Return the present values of the learned parameters, with their graphs."""
        return effective_parameters(self.neuron) if self.learned else {}


def unfit(trace: Trace) -> str:
    """Return why a trace cannot be run by the step program; empty where it can."""
    if isinstance(trace, InGraph):
        return "keeps one graph over all steps; take a rule that learns at every step, such as tt.rules.trace()"
    if trace.sequence:
        return "reads averages of a whole sequence; take tt.rules.trace()"
    if type(trace) not in KINDS:
        return f"has a trace of the kind {type(trace).__name__}, which no kernel knows; take tt.rules.drtrl()"
    if trace.filter is not None and trace.filter.outputs > 1:
        return "has several filters above it, and kernels have one; take cascade(buckets=1), and hops=0"
    if trace.filter is not None and trace.filter.states == 0:
        return "is below units of several currents, which no kernel supports; take tt.rules.drtrl()"
    if trace.filter is not None and type(trace.filter) not in FILTERS:
        return f"has a filter of the kind {type(trace.filter).__name__}, which no kernel knows; take tt.rules.drtrl()"
    if trace.input not in CREDITS:
        return f"sends {trace.input!r} below, which no kernel knows; take tt.rules.drtrl()"
    if trace.copies > 1:
        return (
            "has blocks of its own for the weights (approximate, or a reset with its gradient); take tt.rules.drtrl()"
        )
    return ""


def unfit_neuron(neuron: Neuron, units: int, dtype: torch.dtype) -> str:
    """Return why a neuron's step cannot be run by the step program; empty where it can."""
    lowered, kind = neuron.lowered(), type(neuron).__name__
    if isinstance(lowered, NotLowered):
        return f"the step of {kind} cannot be compiled ({lowered.reason})"
    if lowered.currents != 1:
        return f"{kind} takes {lowered.currents} currents per unit, and kernels take one"
    if neuron.__class__.zeros is not Neuron.zeros:
        return f"{kind} has a state after a reset of its own, and kernels begin from zero"
    for name, value in lowered.named_values(neuron):
        if tuple(value.shape) not in ((), (1,), (units,)):
            return f"{name} of {kind} is {list(value.shape)}, not one number or one per unit, [{units}]"
        if torch.promote_types(value.dtype, dtype) != dtype and value.dim() > 0:
            return f"{name} of {kind} is {value.dtype}, the weights {dtype}"
        if value.device.type != "cpu":
            return f"{name} of {kind} is on {value.device}; kernels run on cpu"
    unread = [n for n in effective_parameters(neuron) if n not in lowered.parameters]
    if unread:
        return f"{kind} learns {', '.join(unread)}, which its step does not read"
    return ""


def unfit_blocks(trace: Trace, neuron: Neuron) -> str:
    """Return why one trace per input cannot take a neuron's blocks from one unit; empty where it can."""
    lowered = neuron.lowered()
    if type(trace) is not Presynaptic or isinstance(lowered, NotLowered):
        return ""
    values = dict(enumerate(v for _, v in lowered.named_values(neuron)))
    for found in lowered.inputs(lowered.A, lowered.B):
        if found.kind != "p" or values[found.index].numel() > 1:
            return f"the blocks of {type(neuron).__name__} are found constant, but not by the form of its step"
    return ""


def unfit_tensors(layer: nn.Module) -> str:
    """Return why a layer's weights cannot be used by the step program; empty where they can."""
    synapse, recurrent = layer.get_submodule("synapse"), layer._modules.get("recurrent")
    if type(synapse) is not nn.Linear:
        return f"its synapse is a {type(synapse).__name__}; only nn.Linear can be fused"
    if recurrent is not None and type(recurrent) is not nn.Linear:
        return f"its recurrent synapse is a {type(recurrent).__name__}; only nn.Linear can be fused"
    dtype = synapse.weight.dtype
    for one in (synapse, recurrent):
        if one is None:
            continue
        for kind in ("weight", "bias"):
            tensor = one._parameters.get(kind)
            if tensor is None and getattr(one, kind) is None:
                continue
            if type(tensor) is not nn.Parameter:
                return f"its {kind} is computed from others (a parametrization)"
            if not tensor.requires_grad:
                return f"its {kind} is frozen; compiled steps credit all weights and biases"
            if tensor.device.type != "cpu" or tensor.dtype not in FLOATS:
                return f"its {kind} is {tensor.dtype} on {tensor.device}; kernels take float32 or float64 on cpu"
            if not tensor.is_contiguous():
                return f"its {kind} is not contiguous"
            if tensor.dtype != dtype:
                return f"its {kind} is {tensor.dtype}, its first weight {dtype}"
    units = synapse.weight.shape[0]
    if recurrent is not None and recurrent.weight.shape != (units, units):
        return f"its recurrent weight is {list(recurrent.weight.shape)}, not [{units}, {units}]"
    rule = getattr(layer, "rule", None)
    if rule is not None and not rule.feedback.fixed:
        return f"its feedback is {rule.feedback!r}, which is formed at each step; take RandomFeedback() or Symmetric()"
    feedback = layer._parameters.get("feedback")
    if feedback is not None and (feedback.dtype != dtype or not feedback.is_contiguous()):
        return f"its feedback is {feedback.dtype}, or not contiguous; kernels take {dtype}"
    return ""
