"""Run a small network by the compiled kernels of `tt.Stream`, with credit that goes into a trace."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tracetorch.backends.numba.steps.layout import (
    ADVANCE,
    BLOCK,
    FORWARD,
    GIVEN,
    LEARN,
    LOSS_NOT_FINITE,
    OUTPUT,
    TRACES,
)
from tracetorch.network import get_state, restart, set_state
from tracetorch.rl.body import Body
from tracetorch.rl.trace import ParameterTrace
from tracetorch.steps import Program
from tracetorch.stream.fit import parts


class CompiledBody(Body):
    """Run a network of one row by compiled kernels: equal to autograd to rounding, at a fraction of its time.

    The program of `tt.Stream` adds credit to any tensors: here to the trace. Looking ahead is a forward on a scratch
    copy of what the layers carry.

    Args:
        net: an `nn.Sequential` that `tt.Stream` takes, with a rule that it takes.
        trace: the trace over its parameters, of one row, into which all credit goes.

    Raises:
        ValueError: if network, rule or trace do not fit; the message says why.
        RuntimeError: if the compiled kernels cannot run here.
    """

    def __init__(self, net: nn.Module, trace: ParameterTrace) -> None:
        self._net, self._trace = net, trace
        self._parts = parts(net)
        learned = [name for part in self._parts for name in part.learned]
        if learned:
            raise ValueError(f"compiled agents learn weights and biases, this network's neurons learn {learned}")
        if len(trace.value) != 1:
            raise ValueError(f"compiled agents have one row, got {len(trace.value)}; run several through autograd")
        places = {id(p): view for p, view in zip(trace.parameters, trace.split(trace.value[0]), strict=True)}
        self._dtype = self._parts[0].synapse.weight.dtype
        self._weights = [t for p in self._parts for t in p.weights if t is not None]
        self._targets = [[None if t is None else places[id(t)] for t in p.weights] for p in self._parts]
        self._input: Tensor | None = None
        self._allocate()

    def _allocate(self) -> None:
        self._program, self._ahead = (Program(self._parts, 1, GIVEN) for _ in range(2))
        self._program.credit_to(self._targets)
        self._steps, self._pending = 0, False
        self._scratch = []
        for cell, row in zip(self._program.cells, self._ahead.table, strict=False):
            block, output = cell.block.clone(), torch.zeros_like(cell.output)
            row[BLOCK], row[OUTPUT] = block.data_ptr(), output.data_ptr()
            self._scratch.append((cell, block, output))
        self._addresses = [t.data_ptr() for t in self._weights]

    def forward(self, x: Tensor) -> Tensor:
        """Advance by one step; see `Body.forward`."""
        if [t.data_ptr() for t in self._weights] != self._addresses:
            raise RuntimeError("a weight was given other memory since the agent was compiled; compile it again")
        if self._input is not None:
            raise RuntimeError("a compiled agent learns from each step: credit did not follow the last forward")
        x = self._accepted(x)
        mode = FORWARD | (ADVANCE | TRACES if self._pending else 0)
        self._pending = False
        self._program.follow()
        self._call(self._program, mode, x.data_ptr(), 0)
        self._program.measure()
        self._input = x
        return self._program.output.clone()

    def ahead(self, x: Tensor) -> Tensor:
        """Return the output at the next input; see `Body.ahead`."""
        for cell, block, _ in self._scratch:
            block.copy_(cell.block)
        mode = FORWARD | (ADVANCE if self._pending or self._input is not None else 0)
        self._call(self._ahead, mode, self._accepted(x).data_ptr(), 0)
        return self._scratch[-1][2].clone()

    def credit(self, trace: ParameterTrace, cotangent: Tensor) -> None:
        """Add credit to the trace that the body was made with; see `Body.credit`."""
        if self._input is None:
            raise RuntimeError("there is no output to give credit for: call forward before credit, once")
        if trace is not self._trace:
            raise ValueError("a compiled agent gives credit to the trace that it was made with")
        cotangent = cotangent.to(self._dtype).contiguous()
        self._call(self._program, LEARN, 0, cotangent.data_ptr())
        self._input, self._pending = None, True
        self._steps += 1

    def forget(self, mask: Tensor | None = None) -> None:
        """Begin a new episode; see `Body.forget`."""
        if mask is None or bool(mask.all()):
            self._input, self._pending = None, False
            for cell in self._program.cells:
                cell.reset(torch.ones(1, dtype=torch.bool))
                cell.forget_pairs()
                cell.part.core.activity.take()
            self._steps = 0

    def another(self) -> CompiledBody:
        """Return one with its own state; see `Body.another`."""
        return CompiledBody(self._net, self._trace)

    def state(self) -> dict[str, Tensor]:
        """Return what the network carries, as the layers would have it; see `Body.state`."""
        if self._pending:
            self._call(self._program, ADVANCE | TRACES, 0, 0)
            self._pending = False
        for cell in self._program.cells:
            cell.steps += self._steps
            cell.part.core.state = cell.state()
        self._steps = 0
        return get_state(self._net)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self._input = None
        restart(self._net)
        set_state(self._net, state)
        self._allocate()

    def _accepted(self, x: Tensor) -> Tensor:
        inputs = self._parts[0].synapse.in_features
        if x.shape != (1, inputs):
            raise ValueError(f"the network takes inputs [1, {inputs}], got {list(x.shape)}")
        return x.to(self._dtype).contiguous()

    def _call(self, program: Program, mode: int, x: int, target: int) -> None:
        status = program.run(mode, x, target, -1.0)
        if status:
            what = "a cotangent" if status == LOSS_NOT_FINITE else "an input, a weight or a state"
            raise FloatingPointError(f"{what} has NaN or infinity in it; nothing was written in this step")
