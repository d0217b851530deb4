"""One step of a dense layer as one node of autograd: a compiled call forwards, a compiled call back.

A call per time step is short of nothing but time: dozens of small operations cost more than their arithmetic. Here a
step is one block of numbers that is copied and carried on, so that any number of steps may wait for their backward.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tracetorch.backends.numba.steps import function
from tracetorch.backends.numba.steps import layout as at
from tracetorch.engine import Core, LayerState, Spec, require_finite_input, rewired, run
from tracetorch.neurons import effective_parameters
from tracetorch.steps.again import Step, credit_again
from tracetorch.steps.cell import Cell
from tracetorch.steps.part import Part, unfit, unfit_blocks, unfit_neuron, unfit_tensors, why_not
from tracetorch.traces.activity import Activity
from tracetorch.traces.autograd import MOVED_ON, require_finite, require_first_derivative
from tracetorch.traces.bank import NO_WAY, Way, hopping
from tracetorch.traces.passing import CLOSED, Feed, Received, receiving
from tracetorch.traces.window import sum_to

LEAST = 2**12
"""Number of weights of a layer below which compiling its kernels is not worth the seconds."""
MOST = 2**22
"""Weights times rows above which torch's products are faster."""


class Single:
    """Run a layer step by step for B rows, and replace its memory as long as nothing else uses the layer.

    `part` is the layer as the program serves it, `first` what it carries so far; None after a reset.
    """

    def __init__(self, layer: nn.Module, part: Part, batch: int, first: LayerState | None) -> None:
        self.first = first
        self.layer, self.core, self.part, self.above = layer, part.core, part, part.core.above
        self.weights, filter = part.weights, part.trace.filter
        self.way = hopping((NO_WAY,) if filter is None else filter.ways, 0)[0]
        tables = [m._parameters for m in (part.synapse, part.recurrent) if m is not None for _ in range(2)]
        self.places = [
            (table, name, weight, 0 if weight is None else weight.data_ptr())
            for table, name, weight in zip(tables, ("weight", "bias") * 2, self.weights, strict=False)
        ]
        self.parameters = [w for w in self.weights if w is not None]
        self.back = self.parameters[0] if part.feedback is None else part.feedback
        weight = self.parameters[0]
        self.dtype, self.shape = weight.dtype, torch.Size((batch, weight.shape[1]))
        self.outputs = (batch, weight.shape[0])
        sources = part.sources
        self.renumbers = any(any(True for _ in n.parameters()) for n in sources)
        modules = {id(m): m for n in (part.neuron, *sources) for m in n.modules()}.values()
        self.watched = [
            (table, name, value, value.requires_grad, _count(value), value.data_ptr())
            for module in modules
            for table in (module._buffers, module._parameters)
            for name, value in table.items()
            if value is not None
        ]
        self.cell = Cell(part, batch)
        begin, give = (function(self.dtype, which, pairs=self.cell.pairs > 0) for which in ("begin", "give"))
        self.begin, self.give = begin.call, give.call
        self.row = self.cell.row()
        self.at = self.row.ctypes.data
        self.block = self.before = self.cell.block.clone()
        self.large = (self.cell.large, self.cell.large_fed) if self.cell.large.numel() else None
        self.pending, self.moved, self.steps = False, 0, 0

    def serves(self, x: Tensor) -> bool:
        """Return whether all is as it was when this was made, and an input fits."""
        core, part, modules = self.core, self.part, self.layer._modules
        return (
            x.shape == self.shape
            and x.is_cpu
            and torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and modules["synapse"] is part.synapse
            and modules["neuron"] is part.neuron
            and modules.get("recurrent") is part.recurrent
            and core.above is self.above
            and core.opened is None
            and not (core.counted or core.bypassed)
            and core.backend in ("auto", "numba")
            and _unhooked(part.synapse)
            and _unhooked(part.neuron)
            and (part.recurrent is None or _unhooked(part.recurrent))
            and self._same_weights()
            and (self.back is self.parameters[0] or self.layer._parameters["feedback"] is self.back)
            and self._same_values()
            and part.same_step()
        )

    def _same_values(self) -> bool:
        for table, name, value, learns, count, address in self.watched:
            if table.get(name) is not value or value.requires_grad is not learns or value.data_ptr() != address:
                return False
            if count is not None and count != value._version:
                return False
        return True

    def _same_weights(self) -> bool:
        for table, name, weight, address in self.places:
            if table.get(name) is not weight:
                return False
            if weight is not None and not (weight.requires_grad and weight.data_ptr() == address):
                return False
        return True

    def forward(self, x: Tensor, learned: tuple[Tensor, ...]) -> Tensor:
        """Step, and return the outputs."""
        block, z, large = self.block.clone(), x.new_empty(self.outputs), self.large
        if self.pending and large is not None:
            if not self.moved:  # the first step may still wait for its backward
                large = (large[0].clone(), large[1].clone())
            self._point(large)
        if learned:
            self.cell.read(dict(zip(self.part.learned, learned, strict=True)))
        if self.renumbers:
            self.cell.number()
        else:
            self.cell.follow()
        mode = at.FORWARD | (at.ADVANCE | at.TRACES if self.pending else 0)
        mode |= 0 if self.core.finite is False else at.CHECK
        x = x.contiguous()
        if self.begin(self.at, block.data_ptr(), x.data_ptr(), z.data_ptr(), mode) and mode & at.CHECK:
            require_finite_input(x)
        self.moved += self.pending
        self.before, self.block, self.large, self.pending = self.block, block, large, True
        self.steps += 1
        self.cell.measure(block)
        return z

    def _point(self, large: tuple[Tensor, Tensor]) -> None:
        self.row[at.LARGE], self.row[at.LARGE_FED] = large[0].data_ptr(), large[1].data_ptr()

    def state(self) -> LayerState:
        """Return what the layer carries, as the layer has it."""
        block, large = self.block.clone(), self.large
        if large is not None:
            large = (large[0].clone(), large[1].clone())
        if self.pending:
            if large is not None:
                self._point(large)
            self.begin(self.at, block.data_ptr(), 0, 0, at.ADVANCE | at.TRACES)
        self.cell.block = block
        if large is not None:
            self.cell.large, self.cell.large_fed = large
        found = self.cell.state()
        return replace(found, steps=found.steps + self.steps)

    def undone(self) -> LayerState | None:
        """Return what the layer carried before the last step."""
        return self.since(self.before, self.large, self.steps)

    def since(self, before: Tensor, large: tuple[Tensor, Tensor] | None, steps: int) -> LayerState | None:
        """Return what the layer carried before a step; None after a reset.

        The block and the large traces, which the step has advanced already, are those before it, `steps` counts it too.
        """
        if steps <= 1:
            return self.first
        block = before.clone()
        if large is not None:
            spent = (large[0].clone(), large[1].clone())
            self._point(spent)
            self.cell.large, self.cell.large_fed = large
        self.begin(self.at, block.data_ptr(), 0, 0, at.ADVANCE | at.TRACES)
        self.cell.block = block
        found = self.cell.state()
        return replace(found, steps=found.steps + steps - 1)


def _count(value: Tensor) -> int | None:
    """Return how often a value that does not learn was changed in place; None where they are not counted."""
    return None if value.requires_grad or value.is_inference() else value._version


def _unhooked(module: nn.Module) -> bool:
    return "forward" not in module.__dict__ and not (
        module._forward_pre_hooks or module._forward_hooks or module._backward_hooks or module._backward_pre_hooks
    )


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, single: Single, received: Received | None, feeds: tuple[Feed, ...], x: Tensor, *parameters: Tensor
    ) -> Tensor:
        learned = parameters[len(single.parameters) :]
        z = single.forward(x, learned)
        ctx.block, ctx.single, ctx.large, ctx.moved = single.block, single, single.large, single.moved
        ctx.before, ctx.steps, ctx.received, ctx.feeds = single.before, single.steps, received, feeds
        ctx.check = single.core.finite is not False
        ctx.shapes = [p.shape for p in learned]
        if ctx.needs_input_grad[3]:
            ctx.save_for_backward(single.back, x)
        else:
            ctx.save_for_backward(single.back)
        return z

    @staticmethod
    def backward(ctx: Any, z_bar: Tensor) -> tuple[Tensor | None, ...]:
        require_first_derivative(z_bar)
        if ctx.metadata.get(CLOSED):
            return (None,) * len(ctx.needs_input_grad)
        single: Single = ctx.single
        row, back = single.row, ctx.saved_tensors[0]
        if back.dtype is not single.dtype or not back.is_contiguous():
            raise RuntimeError("the weights were given another form between a step and its backward; step again")
        row[at.BACK] = back.data_ptr()
        if ctx.large is not None:
            if ctx.large is single.large and ctx.moved != single.moved:
                raise RuntimeError(MOVED_ON)
            single._point(ctx.large)
        parts = None if ctx.received is None else ctx.received.split(z_bar)
        if parts is not None:
            return _again(ctx, parts, z_bar)
        z_bar = z_bar.contiguous()
        x_bar = z_bar.new_empty(single.shape) if ctx.needs_input_grad[3] else None
        grads = [torch.empty_like(p) for p in single.parameters]
        learned = z_bar.new_empty(len(ctx.shapes), single.outputs[1]) if ctx.shapes else None
        places = iter(grads)
        for column, weight in zip(at.TARGETS, single.weights, strict=True):
            if weight is not None:
                row[column] = next(places).data_ptr()
        if learned is not None:
            row[at.TO_LEARNED] = learned.data_ptr()
        mode = at.FRESH | (at.CHECK if ctx.check else 0)
        below = 0 if x_bar is None else x_bar.data_ptr()
        if single.give(single.at, ctx.block.data_ptr(), z_bar.data_ptr(), below, mode, -1.0):
            require_finite(True, z_bar)
        found = [] if learned is None else map(sum_to, learned, ctx.shapes)
        for feed in ctx.feeds if x_bar is not None else ():
            for way, part in feed.signals(single.way, x_bar):
                feed.send(way, part)
        return None, None, None, x_bar, *grads, *found


def _again(ctx: Any, parts: dict[Way, Tensor], z_bar: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients of a step whose credit has come along several ways."""
    single: Single = ctx.single
    require_finite(ctx.check, z_bar)
    x = ctx.saved_tensors[1] if ctx.needs_input_grad[3] else single.cell.piece("held", ctx.block)
    step = Step(single.layer, single.above, single.since(ctx.before, ctx.large, ctx.steps), x, ctx.feeds)
    x_bar, grads = credit_again(step, parts, z_bar)
    weights = (grads[id(p)] for p in single.parameters)
    return None, None, None, x_bar, *weights, *(grads[name] for name in single.part.learned)


def run_single(layer: nn.Module, core: Core, x: Tensor, feeds: tuple[Feed, ...]) -> Tensor | None:
    """Return a step's output, `[B, N]`, by compiled kernels; None where the layer has to go the general way.

    In the latter case nothing was done. `feeds` says how credit is sent to the layers that feed it.
    """
    if feeds and any(feed.group is not None for feed in feeds):
        return None
    single = core.stepper
    if not isinstance(single, Single) or not single.serves(x):
        single = _compiled(layer, core, x)
        if single is None:
            return None
    if x.dtype is not single.dtype:
        x = x.to(single.dtype)
    received = receiving(single.part.trace.filter)
    with parametrize.cached() if single.part.learned else nullcontext():
        learned = single.part.learns()
        found: Tensor = _Step.apply(single, received, feeds, x, *single.parameters, *learned.values())
    core.stepper, core.received = single, received
    core.called()
    return found


def _compiled(layer: Any, core: Core, x: Tensor) -> Single | None:
    """Return what runs a layer from where it is, or None where it cannot or need not."""
    layer.follow_parts()
    synapse, state = layer.synapse, core.state
    if type(synapse) is not nn.Linear or x.dim() != 2 or x.shape[1] != synapse.in_features or not len(x):
        return None
    size = synapse.in_features * synapse.out_features
    if core.backend != "numba" and (core.backend != "auto" or size < LEAST or size * len(x) > MOST):
        return None
    if not torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or not x.is_cpu or why_not():
        return None
    if core.opened is not None or core.counted or core.bypassed or unfit_tensors(layer):
        return None
    if not all(_unhooked(s) for s in (synapse, layer.recurrent) if s is not None):
        return None
    units, dtype = synapse.out_features, synapse.weight.dtype
    if unfit_neuron(layer.neuron, units, dtype):
        return None
    if state is None:
        spec = layer.spec()
        spec.require_known()
        trace = spec.trace((units,))
    else:
        trace = state.trace
        if state.batch != len(x) or any(s.dtype is not dtype or s.dim() != 2 for s in state.s):
            return None
        if state.carry is not None or state.count is not None:
            return None
    if unfit(trace) or unfit_blocks(trace, layer.neuron):
        return None
    learned = tuple(effective_parameters(layer.neuron))
    part = Part(
        "", core, synapse, layer.recurrent, layer.neuron, layer.feedback, trace, layer.neuron.lowered(), learned
    )
    return Single(layer, part, len(x), state)


def first_again(core: Core, spec: Spec) -> LayerState:
    """Return a layer's state after its first step behind the filters now known above it; traces still advance."""
    single, state = core.stepper, core.peek()
    if isinstance(single, Single) and single.steps == 1 and single.first is None:
        x = single.cell.piece("held", single.block).unsqueeze(0)
        with torch.enable_grad():
            return run(replace(spec, activity=Activity()), None, x, event=None).state
    if state is None:
        raise RuntimeError("a layer that carries nothing has made no first step")
    return rewired(state, spec.trace(tuple(state.s[0].shape[1:])))
