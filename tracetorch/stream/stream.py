"""A stream: forward, loss, credit and gradient descent of a whole network in one compiled call per time step."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tracetorch.cell import Cell, link_of
from tracetorch.ops.fused.chain import chain
from tracetorch.ops.fused.table import (
    ADVANCE,
    COLUMNS,
    CROSS_ENTROPY,
    FORWARD,
    GIVEN,
    LEARN,
    LOSS_NOT_FINITE,
    NO_CLASS,
    SQUARED,
    end_row,
)
from tracetorch.stream.fit import parts

Loss = Literal["cross_entropy", "mse"]
_LOSSES = {"cross_entropy": CROSS_ENTROPY, "mse": SQUARED, None: GIVEN}
_STEP = FORWARD | LEARN | ADVANCE


class Stream:
    r"""Learn online, one compiled call per time step: forward, loss, credit and plain gradient descent.

    .. math:: W \leftarrow W - \eta\, \Delta W_t

    Equal, to rounding, to the loop ``loss = f(net(x), target); loss.backward(); sgd.step(); sgd.zero_grad()``, at a
    fraction of its time where networks and batches are small: nothing of torch runs in between. The weights are the
    network's own and move in place, so `net` is the truth for them at any time; state and traces live in the stream,
    which takes up those of the layers when it is made, and gives them back in `sync`.

    It runs an `nn.Sequential` of `tt.Layer(nn.Linear, neuron)` on a CPU, in float32 or float64, with neurons that
    have a compiled step and learn nothing themselves, under the rules that give credit at every step: `trace`, `sltt`,
    `tbptt`, `ottt`, `drtrl`, `eprop` and `traced_bptt`. All else is refused.

    Args:
        net: the network.
        lr: learning rate; may be changed at any time as the attribute `lr`.
        loss: `"cross_entropy"` of class numbers, `[B]`, or `"mse"`, each a mean as torch's; None where cotangents of
            the outputs are given.

    Raises:
        ValueError: if the network, its rule, the learning rate or the loss does not fit; the message says why.
        RuntimeError: if the compiled kernels cannot run here.

    Example:
        >>> import torch, tracetorch as tt
        >>> hidden = tt.Layer(torch.nn.Linear(3, 4), tt.LIF(half_life=5))
        >>> net = torch.nn.Sequential(hidden, tt.Layer(torch.nn.Linear(4, 2), tt.LI(half_life=5)))
        >>> stream = tt.Stream(net, lr=0.1, loss="cross_entropy")
        >>> for _ in range(3):
        ...     y = stream(torch.ones(1, 3), torch.tensor([1]))
        >>> y.shape, stream.loss > 0
        (torch.Size([1, 2]), True)
        >>> stream.sync()
    """

    def __init__(self, net: nn.Module, *, lr: float, loss: Loss | None = "cross_entropy") -> None:
        if loss not in _LOSSES:
            raise ValueError(f"loss must be 'cross_entropy', 'mse' or None, got {loss!r}")
        self.net, self.lr = net, lr
        self.loss = math.nan
        """Value of the last loss."""
        self._kind = _LOSSES[loss]
        self._parts = parts(net)
        first = self._parts[0].weight
        self._dtype, self._inputs, self._outputs = first.dtype, first.shape[1], self._parts[-1].weight.shape[0]
        self._moved = [t for p in self._parts for t in (p.weight, p.bias) if t is not None]
        self._tensors = [*self._moved, *(f for p in self._parts if (f := p.feedback) is not None)]
        self._made_of = [
            (m, m.synapse, m.neuron, p.weight, p.bias) for p, m in zip(self._parts, net.children(), strict=True)
        ]
        self._run = chain(tuple(link_of(p, first=i == 0) for i, p in enumerate(self._parts)), self._dtype)
        self._cells: list[Cell] = []
        self._held: Tensor | None = None
        self._mask: Tensor | None = None
        self._shape: torch.Size | None = None
        self._count = 0
        batches = {size for p in self._parts if (size := p.core.batch) is not None}
        if len(batches) > 1:
            raise ValueError(f"the layers' states have batches of {sorted(batches)} rows; call tt.reset(net)")
        for size in batches:
            self._allocate(size)

    @property
    def lr(self) -> float:
        """Learning rate."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"lr must be finite and at least 0, got {value!r}")
        self._lr = float(value)

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
        if x.dtype is not self._dtype or x.shape != self._shape or not x.is_contiguous() or not x.is_cpu:
            x = self._accepted(x)
        target = self._target(target)
        if self._held is not None or self._mask is not None:
            self._settle()
        self._check_storage()
        status, loss = self._run(self._table, x.data_ptr(), 0, target.data_ptr(), _STEP, self._lr)
        if status:
            self._fail(status, x)
        self.loss = loss
        self._count += 1
        torch.autograd.graph.increment_version(self._moved)
        return self._y.clone()

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one time step, without learning from it unless `backward` follows.

        Args:
            x: input, `[B, K]`.

        Returns:
            The outputs, `[B, N]`, without a graph.

        Raises:
            ValueError: if the shape does not fit or the input is not finite; all is then as before.
        """
        x = self._accepted(x)
        if self._held is not None or self._mask is not None:
            if not bool(torch.isfinite(x).all()):
                self._fail(0, x)
            self._settle()
        self._check_storage()
        status, _ = self._run(self._table, x.data_ptr(), 0, 0, FORWARD, self._lr)
        if status:
            self._fail(status, x)
        self._held = x.clone()
        self._count += 1
        return self._y.clone()

    def backward(self, y_bar: Tensor) -> None:
        """Learn from the last `forward`: give credit and move the weights.

        Args:
            y_bar: cotangents of its outputs, `[B, N]`.

        Raises:
            RuntimeError: if no `forward` is left to learn from.
            ValueError: if the shape does not fit.
            FloatingPointError: if the cotangents are not finite; nothing was written.
        """
        held = self._held
        if held is None:
            raise RuntimeError("there is no forward to learn from: call forward(x), then backward(y_bar) once")
        y_bar = self._values(y_bar, "y_bar")
        self._check_storage()
        status, _ = self._run(self._table, held.data_ptr(), 0, y_bar.data_ptr(), LEARN | ADVANCE, self._lr)
        if status:
            self._fail(status, held)
        self._held = None
        torch.autograd.graph.increment_version(self._moved)

    def reset(self, mask: Tensor | None = None) -> None:
        """Begin a new sequence at the next step.

        Args:
            mask: `[B]`, true for the rows that begin anew; all rows, of any batch size, by default.

        Raises:
            ValueError: if the mask is not of shape `[B]`.
        """
        if mask is None:
            self._cells, self._held, self._mask, self._shape = [], None, None, None
            for part in self._parts:
                part.core.state = None
            return
        size = self._cells[0].batch if self._cells else None
        if mask.dim() != 1 or (size is not None and mask.shape[0] != size):
            raise ValueError(f"mask has one entry per row of the batch, [{size or 'B'}], got {list(mask.shape)}")
        if self._cells:
            mask = mask.to(device="cpu", dtype=torch.bool)
            self._mask = mask.clone() if self._mask is None else self._mask | mask

    def sync(self) -> None:
        """Give state and traces back to the layers, so that the network goes on from here."""
        if self._held is not None or self._mask is not None:
            self._settle()
        for cell in self._cells:
            cell.steps += self._count
            cell.part.core.state, cell.part.core.spikes = cell.state(), None
        self._count = 0

    def _allocate(self, batch: int) -> None:
        self._cells = [Cell(p, batch) for p in self._parts]
        self._shape = torch.Size((batch, self._inputs))
        self._count = 0
        self._addresses = [t.data_ptr() for t in self._tensors]
        rows = [c.addresses() for c in self._cells]
        end = end_row(self._kind, batch, self._outputs)
        self._table = torch.tensor([*rows, end], dtype=torch.int64).view(-1, COLUMNS).numpy()
        self._y = self._cells[-1].flat[0]

    def _settle(self) -> None:
        """Carry a step on from which nothing was learned, then begin anew the rows that are to."""
        if self._held is not None:
            self._run(self._table, self._held.data_ptr(), 0, 0, ADVANCE, self._lr)
            self._held = None
        if self._mask is not None:
            for cell in self._cells:
                cell.steps += self._count
                cell.reset(self._mask)
            self._count, self._mask = 0, None

    def _check_storage(self) -> None:
        layer: Any
        synapse: Any
        for layer, synapse, neuron, weight, bias in self._made_of:
            parts, values = layer._modules, synapse._parameters
            same = parts["synapse"] is synapse and parts["neuron"] is neuron and parts.get("recurrent") is None
            if not same or values["weight"] is not weight or values["bias"] is not bias:
                raise RuntimeError(
                    "a part or a weight was replaced since the stream was made; make a new tt.Stream(net)"
                )
        if [t.data_ptr() for t in self._tensors] != self._addresses:
            raise RuntimeError("a weight was given other memory since this stream was made; make a new tt.Stream(net)")

    def _accepted(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.shape[1] != self._inputs or not x.shape[0]:
            raise ValueError(f"the network takes inputs [batch, {self._inputs}], got {list(x.shape)}")
        if not x.is_cpu:
            raise ValueError(f"the input is on {x.device}, the network on cpu; move it with .cpu()")
        if self._cells and x.shape[0] != self._cells[0].batch:
            size = self._cells[0].batch
            raise ValueError(f"the batch has {x.shape[0]} rows, the state {size}; call stream.reset() before a new one")
        if not self._cells:
            self._allocate(x.shape[0])
        return x.detach().to(self._dtype).contiguous()

    def _target(self, target: Tensor) -> Tensor:
        if self._kind == SQUARED:
            return self._values(target, "target")
        if target.dtype is not torch.int64 or target.dim() != 1 or target.shape[0] != self._y.shape[0]:
            wanted = f"class numbers, int64 of shape [{self._y.shape[0]}]"
            raise ValueError(f"target must be {wanted}, got {target.dtype} of shape {list(target.shape)}")
        return target.contiguous()

    def _values(self, value: Tensor, name: str) -> Tensor:
        if value.shape != self._y.shape:
            raise ValueError(f"{name} must have the outputs' shape {list(self._y.shape)}, got {list(value.shape)}")
        return value.detach().to(self._y).contiguous()

    def _fail(self, status: int, x: Tensor) -> None:
        if status == LOSS_NOT_FINITE:
            raise FloatingPointError(
                "the loss, or a cotangent of the outputs, has NaN or infinity in it; nothing was written"
            )
        if status == NO_CLASS:
            raise ValueError(f"target must be class numbers from 0 to {self._outputs - 1}; nothing was written")
        if not bool(torch.isfinite(x).all()):
            raise ValueError("the input has NaN or infinity in it; nothing was written. Clean the input")
        raise FloatingPointError("weights or states have NaN or infinity in them; nothing was written")
