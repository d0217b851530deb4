"""One step of a dense layer as one node of autograd: a compiled call forwards, a compiled call back.

A call per time step is short of nothing but time: dozens of small operations cost more than their arithmetic. Here a
step is one block of numbers that is copied and carried on, so that any number of steps may wait for their backward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tracetorch.backends.numba.steps import function
from tracetorch.backends.numba.steps import layout as at
from tracetorch.engine import Core, LayerState, Spec, require_finite_input, rewired, run
from tracetorch.entry import has_hooks, hook_tables
from tracetorch.neurons import effective_parameters
from tracetorch.steps.again import Step, credit_again
from tracetorch.steps.cell import Cell
from tracetorch.steps.guards import Guards, entry, values_of
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
OPTIONS = ("above", "opened", "counted", "bypassed", "backend")
"""What a core holds on which it depends whether kernels serve its layer."""


class Single:
    """Run a layer step by step for B rows, and replace its memory as long as nothing else uses the layer.

    `part` is the layer as the program serves it, `first` what it carries so far; None after a reset.
    """

    def __init__(self, layer: nn.Module, part: Part, batch: int, first: LayerState | None) -> None:
        self.first = first
        self.layer, self.core, self.part, self.above = layer, part.core, part, part.core.above
        filter = part.trace.filter
        self.way = hopping((NO_WAY,) if filter is None else filter.ways, 0)[0]
        self.told_apart = None if receiving(filter) is None else filter
        self.targets = [(column, w) for column, w in zip(at.TARGETS, part.weights, strict=True) if w is not None]
        self.parameters = [w for _, w in self.targets]
        self.back = self.parameters[0] if part.feedback is None else part.feedback
        weight = self.parameters[0]
        self.dtype, self.shape = weight.dtype, torch.Size((batch, weight.shape[1]))
        self.outputs = (batch, weight.shape[0])
        self.renumbers = any(any(True for _ in n.parameters()) for n in part.sources)
        self.guards = self._guards()
        self.cell = Cell(part, batch)
        begin, give = (function(self.dtype, which, pairs=self.cell.pairs > 0) for which in ("begin", "give"))
        self.begin, self.give = begin.call, give.call
        self.row = self.cell.row()
        self.at = self.row.ctypes.data
        self.block = self.before = self.cell.block.clone()
        self.large = (self.cell.large, self.cell.large_fed) if self.cell.large.numel() else None
        self.pending, self.moved, self.steps = False, 0, 0

    def _guards(self) -> Guards:
        """Return what a step depends on."""
        layer, core, part = self.layer, self.core, self.part
        synapses = [m for m in (part.synapse, part.recurrent) if m is not None]
        neurons = {id(m): m for n in (part.neuron, *part.sources) for m in n.modules()}.values()
        values = values_of(neurons)
        entries = [entry(core.__dict__, name) for name in OPTIONS] + values
        entries += [entry(layer._modules, name) for name in ("synapse", "neuron", "recurrent")]
        entries += [entry(m._parameters, name) for m in synapses for name in ("weight", "bias")]
        entries.append((layer._parameters, "feedback", part.feedback))
        modules = [*synapses, *part.neuron.modules()]
        entries += [entry(m.__dict__, "forward") for m in modules]
        tensors = [*self.parameters, *(value for _, _, value in values if value is not None)]
        return Guards(entries, tensors, [t for m in modules for t in hook_tables(m)], counted=True)

    def serves(self, x: Tensor) -> bool:
        """Return whether all is as it was when this was made, and an input fits."""
        return (
            self.guards.hold()
            and x.shape == self.shape
            and x.is_cpu
            and torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and self.part.same_step()
        )

    def forward(self, x: Tensor, learned: tuple[Tensor, ...]) -> Tensor:
        """Step, and return the outputs."""
        block, z, large = self.block.clone(), torch.empty_like(self.cell.output), self.large
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


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, single: Single, received: Received | None, feeds: tuple[Feed, ...], x: Tensor, *parameters: Tensor
    ) -> Tensor:
        learned = parameters[len(single.parameters) :]
        z = single.forward(x, learned)
        ctx.single, ctx.shapes, check = single, [p.shape for p in learned], single.core.finite is not False
        ctx.step = single.block, single.before, single.large, single.moved, single.steps, check
        ctx.sent = received, feeds
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
        block, _, large, moved, _, check = ctx.step
        received, feeds = ctx.sent
        row, (back, *inputs) = single.row, ctx.saved_tensors
        if back.dtype is not single.dtype or not back.is_contiguous():
            raise RuntimeError("the weights were given another form between a step and its backward; step again")
        row[at.BACK] = back.data_ptr()
        if large is not None:
            if large is single.large and moved != single.moved:
                raise RuntimeError(MOVED_ON)
            single._point(large)
        parts = None if received is None else received.split(z_bar)
        if parts is not None:
            return _again(ctx, parts, z_bar)
        z_bar = z_bar.contiguous()
        x_bar = torch.empty_like(inputs[0], memory_format=torch.contiguous_format) if inputs else None
        grads: list[Tensor] = []
        for column, weight in single.targets:
            grad = torch.empty_like(weight)
            row[column] = grad.data_ptr()
            grads.append(grad)
        learned = z_bar.new_empty(len(ctx.shapes), single.outputs[1]) if ctx.shapes else None
        if learned is not None:
            row[at.TO_LEARNED] = learned.data_ptr()
        mode = at.FRESH | (at.CHECK if check else 0)
        below = 0 if x_bar is None else x_bar.data_ptr()
        if single.give(single.at, block.data_ptr(), z_bar.data_ptr(), below, mode, -1.0):
            require_finite(True, z_bar)
        for feed in feeds if x_bar is not None else ():
            for way, part in feed.signals(single.way, x_bar):
                feed.send(way, part)
        if learned is None:
            return None, None, None, x_bar, *grads
        return None, None, None, x_bar, *grads, *map(sum_to, learned, ctx.shapes)


_apply: Callable[..., Tensor] = super(torch.autograd.Function, _Step).apply
"""Without what `Function.apply` does for transforms of torch.func, which a layer refuses: a third of its time."""


def _again(ctx: Any, parts: dict[Way, Tensor], z_bar: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients of a step whose credit has come along several ways."""
    single: Single = ctx.single
    block, before, large, _, steps, check = ctx.step
    require_finite(check, z_bar)
    x = ctx.saved_tensors[1] if ctx.needs_input_grad[3] else single.cell.piece("held", block)
    step = Step(single.layer, single.above, single.since(before, large, steps), x, ctx.sent[1])
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
    x, part = torch._C._functorch.unwrap_if_dead(x), single.part
    received = None if single.told_apart is None else Received(single.told_apart)
    if part.learned:
        with parametrize.cached():
            found = _apply(single, received, feeds, x, *single.parameters, *part.learns().values())
    else:
        found = _apply(single, received, feeds, x, *single.parameters)
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
    if any(has_hooks(s) or "forward" in s.__dict__ for s in (synapse, layer.recurrent) if s is not None):
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
