"""One step of a dense layer as one node of autograd: a compiled call forwards, a compiled call back.

A call per time step is short of nothing but time: dozens of small operations cost more than their arithmetic. Here a
step is one block of numbers that is copied and carried on, so that any number of steps may wait for their backward.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.cell import Cell, Part, link_of, unfit
from tracetorch.engine import Core, LayerState, require_finite_input
from tracetorch.neurons import Neuron
from tracetorch.ops.fused import why_not
from tracetorch.ops.fused.chain import single as compiled
from tracetorch.ops.fused.table import ADVANCE, BACK, CHECK, FORWARD, LARGE
from tracetorch.rules.above import ReadoutDecay
from tracetorch.traces.autograd import MOVED_ON, require_finite, require_first_derivative

LEAST = 2**12
"""Number of weights of a layer below which compiling its kernels is not worth the seconds."""
MOST = 2**22
"""Weights times rows above which torch's products are faster."""


class Single:
    """Run a layer step by step, in the place of its memory as long as nothing else is done with it.

    Args:
        layer: the layer, as a module.
        part: the same, as the kernels serve it.
        batch: B.
    """

    def __init__(self, layer: nn.Module, part: Part, batch: int) -> None:
        weight = part.weight
        self.layer, self.core, self.synapse, self.neuron = layer, part.core, layer.get_submodule("synapse"), part.neuron
        self.above, self.readout = part.core.above, _readout(part)
        self.weight, self.bias, self.back = weight, part.bias, weight if part.feedback is None else part.feedback
        self.weight_at, self.bias_at = weight.data_ptr(), 0 if part.bias is None else part.bias.data_ptr()
        self.dtype, self.shape = weight.dtype, torch.Size((batch, weight.shape[1]))
        self.outputs = (batch, weight.shape[0])
        self.watched = [
            (module._buffers, name, value, value._version)
            for root in (self.neuron, self.readout)
            if root is not None
            for module in root.modules()
            for name, value in module._buffers.items()
            if value is not None
        ]
        self.cell = Cell(part, batch)
        self.begin, self.give = compiled(link_of(part, first=False)._replace(feedback=True), self.dtype)
        self.row: Any = torch.tensor(self.cell.addresses(), dtype=torch.int64).numpy()
        self.block = self.cell.block()
        self.large = self.cell.large if self.cell.large.numel() else None
        self.pending, self.moved, self.steps = False, 0, 0

    def serves(self, x: Tensor) -> bool:
        """Tell whether all is as it was when this was made, and an input fits."""
        core, synapse = self.core, self.synapse
        modules = self.layer._modules
        return (
            x.shape == self.shape
            and x.is_cpu
            and torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and modules["synapse"] is synapse
            and modules["neuron"] is self.neuron
            and modules.get("recurrent") is None
            and core.above is self.above
            and core.opened is None
            and not core.counted
            and core.backend in ("auto", "numba")
            and "forward" not in synapse.__dict__
            and not (synapse._forward_pre_hooks or synapse._forward_hooks)
            and not (synapse._backward_hooks or synapse._backward_pre_hooks)
            and synapse._parameters.get("weight") is self.weight
            and synapse._parameters.get("bias") is self.bias
            and self.weight.requires_grad
            and self.weight.data_ptr() == self.weight_at
            and (self.bias is None or (self.bias.requires_grad and self.bias.data_ptr() == self.bias_at))
            and (self.back is self.weight or self.layer._parameters["feedback"] is self.back)
            and all(
                table.get(name) is value and value._version == version for table, name, value, version in self.watched
            )
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Step, and return the outputs and the block that credit is given by."""
        block, z, large = self.block.clone(), x.new_empty(self.outputs), self.large
        if self.pending and large is not None:
            large = large if self.moved else large.clone()  # the first step may still wait for its backward
            self.row[LARGE] = large.data_ptr()
        mode = FORWARD | (ADVANCE if self.pending else 0) | (0 if self.core.finite is False else CHECK)
        x = x.contiguous()
        if not self.begin(self.row, block.data_ptr(), self.weight_at, self.bias_at, x.data_ptr(), z.data_ptr(), mode):
            require_finite_input(x)
        self.moved += self.pending
        self.block, self.large, self.pending = block, large, True
        self.steps += 1
        return z, block

    def state(self) -> LayerState:
        """Return what the layer carries, as the layer has it."""
        block, large = self.block.clone(), self.large if self.large is None else self.large.clone()
        if self.pending:
            if large is not None:
                self.row[LARGE] = large.data_ptr()
            self.begin(self.row, block.data_ptr(), 0, 0, 0, 0, ADVANCE)
        self.cell.take(block)
        if large is not None:
            self.cell.large = large
        found = self.cell.state()
        return replace(found, steps=found.steps + self.steps)


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, single: Single, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        z, ctx.block = single.forward(x)
        ctx.single, ctx.large, ctx.moved = single, single.large, single.moved
        ctx.check = single.core.finite is not False
        if ctx.needs_input_grad[1]:
            ctx.save_for_backward(single.back, x)
        else:
            ctx.save_for_backward(single.back)
        return z

    @staticmethod
    def backward(ctx: Any, z_bar: Tensor) -> tuple[Tensor | None, ...]:
        require_first_derivative()
        single: Single = ctx.single
        back = ctx.saved_tensors[0]
        if back.dtype is not single.dtype or not back.is_contiguous():
            raise RuntimeError("the weights were given another form between a step and its backward; step anew")
        single.row[BACK] = back.data_ptr()
        if ctx.large is not None:
            if ctx.large is single.large and ctx.moved != single.moved:
                raise RuntimeError(MOVED_ON)
            single.row[LARGE] = ctx.large.data_ptr()
        z_bar = z_bar.contiguous()
        x_bar = z_bar.new_empty(single.shape) if ctx.needs_input_grad[1] else None
        weight_bar = torch.empty_like(back)
        bias_bar = None if single.bias is None else z_bar.new_empty(single.outputs[1])
        if not single.give(
            single.row,
            ctx.block.data_ptr(),
            z_bar.data_ptr(),
            0 if x_bar is None else x_bar.data_ptr(),
            weight_bar.data_ptr(),
            0 if bias_bar is None else bias_bar.data_ptr(),
            CHECK if ctx.check else 0,
        ):
            require_finite(True, z_bar)
        return None, x_bar, weight_bar, bias_bar


def run_single(layer: nn.Module, core: Core, x: Tensor) -> Tensor | None:
    """Advance a layer by one time step with compiled kernels, where they serve it and pay.

    Args:
        layer: the layer, as a module.
        core: what it holds beside its modules.
        x: input, `[B, K]`.

    Returns:
        The output, `[B, N]`; None where the layer has to go the general way, and nothing was done.
    """
    single = core.stepper
    if not isinstance(single, Single) or not single.serves(x):
        single = _compiled(layer, core, x)
        if single is None:
            return None
        core.stepper = single
    if x.dtype is not single.dtype:
        x = x.to(single.dtype)
    found: Tensor = _Step.apply(single, x, single.weight, single.bias)
    return found


def _compiled(layer: Any, core: Core, x: Tensor) -> Single | None:
    """Return what runs a layer from where it is, or None where it cannot or need not."""
    layer.follow_parts()
    synapse, state = layer.synapse, core.state
    if type(synapse) is not nn.Linear or x.dim() != 2 or x.shape[1] != synapse.in_features or not len(x):
        return None
    size = synapse.in_features * synapse.out_features
    if core.backend != "numba" and (core.backend != "auto" or size < LEAST or size * len(x) > MOST or why_not()):
        return None
    if not torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or not x.is_cpu:
        return None
    if layer.recurrent is not None or core.opened is not None or core.counted or not _plain(synapse):
        return None
    scalar = layer.neuron.scalar()
    if scalar is None:
        return None
    if state is None:
        spec = layer.spec()
        spec.require_known()
        trace = spec.trace((synapse.out_features,))
    else:
        trace = state.trace
        if state.batch != len(x) or state.s[0].dtype is not synapse.weight.dtype or state.s[0].dim() != 2:
            return None
        if state.carry is not None or state.count is not None:
            return None
    fed = layer.feedback
    if fed is not None and (fed.dtype is not synapse.weight.dtype or not fed.is_contiguous()):
        return None
    if unfit(trace):
        return None
    part = Part("", core, layer.synapses[0], layer.neuron, fed, trace, scalar)
    if any(root is not None and any(True for _ in root.parameters()) for root in (layer.neuron, _readout(part))):
        return None
    return Single(layer, part, len(x))


def _readout(part: Part) -> Neuron | None:
    """Return the readout whose decay filters a layer, where one does."""
    filter = part.trace.filter
    return filter.readout if isinstance(filter, ReadoutDecay) else None


def _plain(synapse: nn.Linear) -> bool:
    """Tell whether weights and biases are parameters that learn, of a kind and in a form that kernels take."""
    tensors = [synapse._parameters.get("weight")]
    if synapse.bias is not None:
        tensors.append(synapse._parameters.get("bias"))
    return all(
        type(t) is nn.Parameter
        and t.requires_grad
        and t.is_cpu
        and t.is_contiguous()
        and t.dtype in (torch.float32, torch.float64)
        for t in tensors
    )
