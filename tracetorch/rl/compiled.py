"""Run a small network by the compiled kernels of `tt.Stream`, with credit that goes into a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tracetorch.cell import Cell, link_of
from tracetorch.network import get_state, reset, set_state
from tracetorch.ops.fused.chain import chain
from tracetorch.ops.fused.table import (
    ADVANCE,
    BACK,
    BIAS,
    COLUMNS,
    FLAT,
    FORWARD,
    GIVEN,
    LEARN,
    LOSS_NOT_FINITE,
    SPACE,
    WEIGHT,
    end_row,
)
from tracetorch.rl.body import Body
from tracetorch.rl.trace import FlatParameters
from tracetorch.stream.fit import parts


class CompiledBody(Body):
    """Run a network of one row by compiled kernels: equal to autograd to rounding, at a fraction of its time.

    The kernels of `tt.Stream` move weights down a gradient. Here they are shown the trace in the weights' place, a step
    size of minus one, and the weights themselves as the way back: so what they would subtract is added to the trace.
    Looking ahead is a forward on a scratch copy of the states.

    Args:
        net: an `nn.Sequential` that `tt.Stream` takes, with a rule that it takes.
        trace: the trace over its parameters, of one row, into which all credit goes.

    Raises:
        ValueError: if network, rule or trace do not fit; the message says why.
        RuntimeError: if the compiled kernels cannot run here.
    """

    def __init__(self, net: nn.Module, trace: FlatParameters) -> None:
        self._net, self._trace = net, trace
        self._parts = parts(net)
        if len(trace.value) != 1:
            raise ValueError(f"compiled agents have one row, got {len(trace.value)}; run several through autograd")
        places = {id(p): view for p, view in zip(trace.parameters, trace.split(trace.value[0]), strict=True)}
        self._dtype = self._parts[0].weight.dtype
        links = tuple(link_of(p, first=i == 0)._replace(feedback=i > 0) for i, p in enumerate(self._parts))
        self._run = chain(links, self._dtype)
        self._weights = [t for p in self._parts for t in (p.weight, p.bias) if t is not None]
        self._targets = [places[id(t)] for t in self._weights]
        self._held: Tensor | None = None
        self._allocate()

    def _allocate(self) -> None:
        self._cells = [Cell(part, 1) for part in self._parts]
        self._steps = 0
        self._scratch = [(torch.empty_like(c.space).copy_(c.space), torch.zeros_like(c.flat)) for c in self._cells]
        forward, credit, look = [], [], []
        targets = iter(self._targets)
        for cell, (space, flat) in zip(self._cells, self._scratch, strict=True):
            row = cell.addresses()
            forward.append(row)
            learn, scratch = list(row), list(row)
            learn[BACK] = row[BACK] or row[WEIGHT]
            learn[WEIGHT] = next(targets).data_ptr()
            if row[BIAS]:
                learn[BIAS] = next(targets).data_ptr()
            scratch[SPACE], scratch[FLAT] = space.data_ptr(), flat.data_ptr()
            credit.append(learn)
            look.append(scratch)
        outputs = self._parts[-1].weight.shape[0]
        end = end_row(GIVEN, 1, outputs)
        self._tables = [
            torch.tensor([*rows, end], dtype=torch.int64).view(-1, COLUMNS).numpy() for rows in (forward, credit, look)
        ]
        self._addresses = [t.data_ptr() for t in self._weights]
        # Where a forward waits for its credit, the next states stand beside the present ones.
        self._copies: list[tuple[Any, Any, Any]] = []
        for cell, (space, _) in zip(self._cells, self._scratch, strict=True):
            at, states = cell.at, cell.part.scalar.states
            held: Any = cell.space.numpy()
            copied: Any = space.numpy()
            for now, waiting in ((at.state, at.state_next), (at.counter, at.counter_next)):
                size = states if now == at.state else 1
                places = (slice(now, now + size), slice(waiting, waiting + size))
                rows: list[Any] = [held[:, :, place] for place in places]
                self._copies.append((rows[0], rows[1], copied[:, :, places[0]]))

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one step; see `Body.forward`."""
        if [t.data_ptr() for t in self._weights] != self._addresses:
            raise RuntimeError("a weight was given other memory since the agent was compiled; compile it anew")
        if self._held is not None:
            raise RuntimeError("a compiled agent learns from each step: credit did not follow the last forward")
        x = self._accepted(x)
        self._call(0, x, 0, FORWARD)
        self._held = x
        return self._cells[-1].flat[0].clone()

    def ahead(self, x: Tensor) -> Tensor:
        """Return the output at the next input; see `Body.ahead`."""
        for now, waiting, scratch in self._copies:
            scratch[:] = now if self._held is None else waiting
        self._call(2, self._accepted(x), 0, FORWARD)
        return self._scratch[-1][1][0].clone()

    def credit(self, trace: FlatParameters, cotangent: Tensor) -> None:
        """Add credit to the trace that the body was made with; see `Body.credit`."""
        if self._held is None:
            raise RuntimeError("there is no output to give credit for: call forward before credit, once")
        if trace is not self._trace:
            raise ValueError("a compiled agent gives credit to the trace that it was made with")
        cotangent = cotangent.to(self._dtype).contiguous()
        self._call(1, self._held, cotangent.data_ptr(), LEARN | ADVANCE)
        self._held = None
        self._steps += 1

    def forget(self, mask: Tensor | None = None) -> None:
        """Begin a new episode; see `Body.forget`."""
        if mask is None or bool(mask.all()):
            self._held = None
            for cell in self._cells:
                cell.reset(torch.ones(1, dtype=torch.bool))
            self._steps = 0

    def another(self) -> CompiledBody:
        """Return one with a state of its own; see `Body.another`."""
        return CompiledBody(self._net, self._trace)

    def state(self) -> dict[str, Tensor]:
        """Return what the network carries, as the layers would have it; see `Body.state`."""
        for cell in self._cells:
            cell.steps += self._steps
            cell.part.core.state = cell.state()
        self._steps = 0
        return get_state(self._net)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self._held = None
        reset(self._net)
        set_state(self._net, state)
        self._allocate()

    def _accepted(self, x: Tensor) -> Tensor:
        wanted = self._parts[0].weight.shape[1]
        if x.shape != (1, wanted):
            raise ValueError(f"the network takes inputs [1, {wanted}], got {list(x.shape)}")
        return x.to(self._dtype).contiguous()

    def _call(self, table: int, x: Tensor, target: int, mode: int) -> None:
        status, _ = self._run(self._tables[table], x.data_ptr(), 0, target, mode, -1.0)
        if status:
            what = "a cotangent" if status == LOSS_NOT_FINITE else "an input, a weight or a state"
            raise FloatingPointError(f"{what} has NaN or infinity in it; nothing was written in this step")
