"""A stream: forward, loss, credit and update of a whole network in one compiled call per time step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from tracetorch.backends.numba.steps.layout import (
    ADVANCE,
    CROSS_ENTROPY,
    FORWARD,
    FRESH,
    GIVEN,
    LEARN,
    LOSS_NOT_FINITE,
    NO_CLASS,
    SQUARED,
    TRACES,
)
from tracetorch.engine import LayerState
from tracetorch.entry import require_flags, require_tensor
from tracetorch.steps import Program, unfit
from tracetorch.steps.cell import Cell
from tracetorch.stream.fit import parts
from tracetorch.stream.unchanged import Unchanged
from tracetorch.stream.update import Descent, update_of
from tracetorch.traces.window import sum_to

Loss = Literal["cross_entropy", "mse"]
_LOSSES = {"cross_entropy": CROSS_ENTROPY, "mse": SQUARED, None: GIVEN}


class Stream:
    r"""Online learning in one compiled call per time step: forward, loss, credit and update.

    .. math:: W \leftarrow W - \eta\, \Delta W_t

    Equal, to rounding, to the loop ``loss = f(net(x), target); loss.backward(); optimizer.step();
    optimizer.zero_grad()``, at a fraction of its time where networks and batches are small: nothing of torch runs in
    between. The weights are the network's own and move in place, so `net` is the truth for them at any time. State and
    traces live in the stream, and are read from it by whatever reads them of the layers: calls of the network, scans,
    `tt.reset`, `tt.get_state` and `tt.set_state` may be between its steps, and the stream goes on from there.

    It runs an `nn.Sequential` of `tt.Layer(nn.Linear, neuron)` on a CPU, in float32 or float64, with any neuron whose
    step can be lowered and takes one current, learned neuron parameters and `nn.Linear` recurrence included, under the
    rules `cascade`, `trace`, `eprop`, `otpe`, `drtrl`, `rflo`, `ottt`, `sltt`, `tbptt` and `traced_bptt`. All else is
    refused.

    Args:
        net: the network.
        lr: learning rate of plain gradient descent; may be changed at any time as the attribute `lr`.
        loss: `"cross_entropy"` of class numbers, `[B]`, or `"mse"`, each a mean as torch's; None where cotangents of
            the outputs are given.
        optimizer: an optimizer of `torch.optim` over the network's parameters, instead of `lr`. `SGD`, `Adam` and
            `AdamW` are computed by kernels on the optimizer's own state and settings, so that its `state_dict` and a
            scheduler work as usual; any other is given the gradients and called.

    Raises:
        ValueError: if the network, its rule, the learning rate or the loss does not fit; the message says why.
        RuntimeError: if the compiled kernels cannot run here.

    Example:
        >>> import torch, tracetorch as tt
        >>> hidden = tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=5))
        >>> net = torch.nn.Sequential(hidden, tt.Layer(torch.nn.Linear(4, 2), tt.LI(half_life=5)))
        >>> stream = tt.Stream(net, lr=0.1, loss="cross_entropy")
        >>> x, target, losses = torch.ones(1, 3), torch.tensor([1]), []
        >>> for _ in range(50):
        ...     y = stream(x, target)  # [1, 2], given before learning from the target
        ...     losses.append(float(stream.loss))
        >>> y.shape, losses[-1] < losses[0]
        (torch.Size([1, 2]), True)
        >>> stream.sync()
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        lr: float | None = None,
        loss: Loss | None = "cross_entropy",
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        if loss not in _LOSSES:
            raise ValueError(f"loss must be 'cross_entropy', 'mse' or None, got {loss!r}")
        self.net, self._update = net, update_of(lr, optimizer)
        self.loss = math.nan
        """Value of the last loss."""
        self._kind = _LOSSES[loss]
        self._parts = parts(net)
        self._cores = [part.core for part in self._parts]
        first = self._parts[0].synapse
        self._dtype, self._inputs = first.weight.dtype, first.in_features
        self._outputs = self._parts[-1].synapse.out_features
        self._weights: list[list[Tensor]] = [[t for t in p.weights if t is not None] for p in self._parts]
        self._raw: list[list[Tensor]] = [[t for t in p.neuron.parameters() if t.requires_grad] for p in self._parts]
        rows: list[list[Tensor]] = [*self._weights, *self._raw]
        self._moved = [t for row in rows for t in row]
        self._unchanged = Unchanged(net, self._parts, self._moved)
        self._grads = [[None if t is None else torch.zeros_like(t) for t in p.weights] for p in self._parts]
        if self._update.direct:
            self._grads = []
        self._pending, self._waiting, self._count = False, False, 0
        self._program: Program | None = None
        self._shape: torch.Size | None = None
        self._mask: Tensor | None = None
        self._carried: list[Carried] = []
        self._read: list[Mapping[str, Tensor]] = []
        self._take_up()

    @property
    def lr(self) -> float:
        """Learning rate of plain gradient descent."""
        return self._update.rate

    @lr.setter
    def lr(self, value: float) -> None:
        if not isinstance(self._update, Descent):
            raise AttributeError("the learning rate is the optimizer's: set it in optimizer.param_groups")
        self._update = Descent(value)

    def __call__(self, x: Tensor, target: Tensor) -> Tensor:
        """Advance by one time step and learn from its loss.

        Args:
            x: input, `[B, K]`.
            target: class numbers, `[B]`, or values, `[B, N]`.

        Returns:
            The outputs before the update, `[B, N]`, without a graph; `loss` holds the loss.

        Raises:
            ValueError: if a shape or a class number does not fit, or the input is not finite.
            FloatingPointError: if the loss is not finite. Weights, state and traces are as before, in either case.
        """
        if self._kind == GIVEN:
            raise TypeError("this stream has no loss: call forward(x) and backward(y_bar), or give Stream a loss")
        x, program = self._accepted(x)
        target = self._target(target)
        self._run(program, FORWARD | LEARN, x, target)
        self.loss = program.value
        self._learned(program)
        return program.output.clone()

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one time step, without learning from it unless `backward` follows.

        Args:
            x: input, `[B, K]`.

        Returns:
            The outputs, `[B, N]`, without a graph.

        Raises:
            ValueError: if the shape does not fit or the input is not finite; all is then as before.
        """
        x, program = self._accepted(x)
        self._run(program, FORWARD, x, None)
        self._waiting = True
        return program.output.clone()

    def backward(self, y_bar: Tensor) -> None:
        """Learn from the last `forward`: give credit and move the weights.

        Args:
            y_bar: cotangents of its outputs, `[B, N]`.

        Raises:
            RuntimeError: if no `forward` is left to learn from.
            ValueError: if the shape does not fit.
            FloatingPointError: if the cotangents are not finite; nothing was written.
        """
        program = self._program
        if not self._waiting or program is None or self._displaced():
            raise RuntimeError("there is no forward to learn from: call forward(x), then backward(y_bar) once")
        self._run(program, LEARN, None, self._values(y_bar, "y_bar"))
        self._waiting = False
        self._learned(program)

    def reset(self, mask: Tensor | None = None) -> None:
        """Begin a new sequence at the next step.

        Args:
            mask: `[B]`, true for the rows that start a new sequence; all rows, of any batch size, by default.

        Raises:
            ValueError: if the mask is not of shape `[B]`.
        """
        program = self._program
        if mask is None:
            for part in self._parts:
                part.core.state = None
                part.core.activity.begin()
            self._take_up()
            return
        if self._displaced():
            self._take_up()
            program = self._program
        require_flags(mask)
        if mask.dim() != 1 or (program is not None and mask.shape[0] != program.batch):
            size = "B" if program is None else program.batch
            raise ValueError(f"mask has one entry per row of the batch, [{size}], got {list(mask.shape)}")
        if program is not None:
            mask = mask.to(device="cpu", dtype=torch.bool)
            self._mask = mask.clone() if self._mask is None else self._mask | mask

    def sync(self) -> None:
        """Give state and traces back to the layers, as reading them does; the next step takes them up again."""
        for core in self._cores if self._carried else ():
            core.end_program()

    def _state(self, cell: Cell) -> LayerState:
        """Return what a layer carries now; a `backward` that is still to come is as before."""
        program = self._program
        if program is None:
            raise RuntimeError("the stream has been reset")
        mine = self._pending, self._waiting, self._mask, self._count
        memory = [t for c in program.cells for t in (c.block, c.large, c.large_fed, c.steps)] if self._waiting else []
        before = [t.clone() for t in memory]
        self._settle(program)
        found = replace(cell.state(), steps=cell.steps + self._count)
        if memory:
            for tensor, value in zip(memory, before, strict=True):
                tensor.copy_(value)
            self._pending, self._waiting, self._mask, self._count = mine
        return found

    def _displaced(self) -> bool:
        """Return whether something else has run the layers, or changed what they carry, since the last step."""
        return [core.stepper for core in self._cores] != self._carried

    def _take_up(self) -> None:
        """Go on from what the layers carry."""
        batches = {core.batch for core in self._cores if core.batch is not None}
        if len(batches) > 1:
            raise ValueError(f"the layers' states have batches of {sorted(batches)} rows; call tt.reset(net)")
        self._program, self._shape, self._mask, self._carried = None, None, None, []
        self._pending, self._waiting, self._count = False, False, 0
        for size in batches:
            self._carry(self._allocate(size))

    def _carry(self, program: Program) -> None:
        """Stand in the layers for what they carry."""
        self._carried = [Carried(self, cell) for cell in program.cells]
        for core, one in zip(self._cores, self._carried, strict=True):
            core.state, core.spikes, core.stepper = None, None, one

    def _allocate(self, batch: int) -> Program:
        for part in self._parts:
            if why := unfit(part.trace):
                raise RuntimeError(f"layer {part.name!r} {why}; it could be run when the stream was made")
        program = self._program = Program(self._parts, batch, self._kind)
        if not self._update.direct:
            program.credit_to(self._grads)
        self._shape = torch.Size((batch, self._inputs))
        self._count, self._pending = 0, False
        return program

    def _run(self, program: Program, mode: int, x: Tensor | None, target: Tensor | None) -> None:
        """Run parts of a step; where it fails, state and traces are as before."""
        if self._mask is not None and mode & FORWARD:
            if x is not None and not bool(torch.isfinite(x).all()):
                self._fail(0, x)
            self._settle(program)
        self._unchanged.require()
        if mode & FORWARD:
            program.follow()
        if program.learns:
            if mode & FORWARD:
                self._read = program.read()
            if mode & LEARN and self._update.direct:
                for cell in program.cells:
                    cell.to_learned.zero_()
        if mode & FORWARD and self._pending:
            mode |= ADVANCE | TRACES
        if mode & LEARN and not self._update.direct:
            mode |= FRESH
        places = (0 if x is None else x.data_ptr(), 0 if target is None else target.data_ptr())
        status = program.run(mode, *places, self._update.rate)
        if mode & FORWARD:  # what was pending has been carried on, whatever became of this step
            self._pending = self._waiting = False
        if status:
            self._fail(status, x)
        if mode & FORWARD:
            if not self._carried:  # a first step that fails leaves nothing behind
                self._carry(program)
            self._pending = True
            self._count += 1
            program.measure()

    def _learned(self, program: Program) -> None:
        """Move what the call itself has not moved."""
        if self._update.direct and not program.learns:
            return torch.autograd.graph.increment_version(self._moved)
        moved: list[Tensor] = []
        grads: list[Tensor] = []
        for raw, values, cell in zip(self._raw, self._read, program.cells, strict=False):
            if values:
                found = [sum_to(g, v.shape) for g, v in zip(cell.to_learned, values.values(), strict=True)]
                moved += raw
                grads += torch.autograd.grad(list(values.values()), raw, found)
        if self._grads:
            for weights, row in zip(self._weights, self._grads, strict=True):
                moved += weights
                grads += [g for g in row if g is not None]
        if moved:
            self._update.step(moved, grads)
        return torch.autograd.graph.increment_version(self._moved)

    def _settle(self, program: Program) -> None:
        """Carry the last step on, then begin again the rows that are to."""
        if self._pending:
            program.run(ADVANCE | TRACES, 0, 0, 0.0)
            self._pending = self._waiting = False
        if self._mask is not None:
            for cell in program.cells:
                cell.steps += self._count
                cell.reset(self._mask)
            self._count, self._mask = 0, None

    def _accepted(self, x: Tensor) -> tuple[Tensor, Program]:
        if not self._carried or self._displaced():
            self._unchanged.require()
            self._take_up()
        program = self._program
        if type(x) is not Tensor:
            require_tensor(x)
        if program is not None and x.dtype is self._dtype and x.shape == self._shape and x.is_contiguous() and x.is_cpu:
            return x, program
        require_tensor(x)
        if x.dim() != 2 or x.shape[1] != self._inputs or not x.shape[0]:
            raise ValueError(f"the network takes inputs [batch, {self._inputs}], got {list(x.shape)}")
        if not x.is_cpu:
            raise ValueError(f"the input is on {x.device}, the network on cpu; move it with .cpu()")
        if program is not None and x.shape[0] != program.batch:
            raise ValueError(
                f"the batch has {x.shape[0]} rows, the state {program.batch}; call stream.reset() before a new one"
            )
        x = x.detach().to(self._dtype).contiguous()
        if program is None:
            program = self._allocate(x.shape[0])
        return x, program

    def _target(self, target: Tensor) -> Tensor:
        if self._kind == SQUARED:
            return self._values(target, "target")
        rows = () if self._shape is None else self._shape[:1]
        if type(target) is not Tensor or not target.is_cpu or target.layout is not torch.strided:
            require_tensor(target, "a target", "[batch] of class numbers")
            target = target.cpu()
        if target.dtype is not torch.int64 or target.shape != rows:
            expected = f"class numbers, int64 of shape {list(rows)}"
            raise ValueError(f"target must be {expected}, got {target.dtype} of shape {list(target.shape)}")
        return target.contiguous()

    def _values(self, value: Tensor, name: str) -> Tensor:
        require_tensor(value, name, "[batch, outputs]")
        shape = [0 if self._shape is None else self._shape[0], self._outputs]
        if list(value.shape) != shape:
            raise ValueError(f"{name} must have the outputs' shape {shape}, got {list(value.shape)}")
        return value.detach().to(device="cpu", dtype=self._dtype).contiguous()

    def _fail(self, status: int, x: Tensor | None) -> None:
        if status == LOSS_NOT_FINITE:
            raise FloatingPointError(
                "the loss, or a cotangent of the outputs, has NaN or infinity in it; nothing was written"
            )
        if status == NO_CLASS:
            raise ValueError(f"target must be class numbers from 0 to {self._outputs - 1}; nothing was written")
        if x is not None and not bool(torch.isfinite(x).all()):
            raise ValueError("the input has NaN or infinity in it; nothing was written. Clean the input")
        raise FloatingPointError("weights or states have NaN or infinity in them; nothing was written")


@dataclass(frozen=True, eq=False)
class Carried:
    """What a layer carries, for whatever reads it of the layer between two steps of a stream."""

    stream: Stream
    cell: Cell

    def state(self) -> LayerState:
        """Return what the layer carries now."""
        return self.stream._state(self.cell)

    def undone(self) -> LayerState:
        """Return the same: a stream takes its own failing steps back."""
        return self.state()
