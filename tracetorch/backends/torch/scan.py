"""The readable backend: every neuron, synapse and device, step by step in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tracetorch.backends.interface import (
    Cotangents,
    Gradients,
    Outputs,
    Pull,
    Save,
    Scan,
    Sensitivity,
    expanded,
    padded,
)
from tracetorch.backends.torch.recurrences import (
    filter_forward,
    filter_reverse,
    linear_scan,
    reverse_scan,
    reverse_sums,
)
from tracetorch.neurons.blocks import Blocks
from tracetorch.ops.entries import Entry, multiply_add
from tracetorch.synapses import Synapse


class TorchTape:
    """The states and currents of a window, from which Jacobian blocks are taken when they are needed.

    `before` are the states and counters before each step, `[T, B, *unit]` each, `current` the total currents of the
    same shape, `fed` the outputs that were fed back at each step, `[B, *unit]`, none without a recurrent synapse.
    """

    def __init__(self, scan: Scan, before: tuple[Tensor, ...], current: Tensor, fed: Sequence[Tensor] = ()) -> None:
        self.scan, self.before, self.current, self.fed = scan, before, current, fed
        self._blocks: dict[tuple[str, ...], Blocks] = {}

    def currents(self) -> Tensor:
        """Return the total currents, `[T, B, *unit]`."""
        return self.current

    def blocks(self, parameters: tuple[str, ...] = ()) -> Blocks:
        """Return the Jacobian blocks, those of the named parameters included."""
        blocks = self._blocks.get(parameters)
        if blocks is None:
            neuron = self.scan.neuron
            values = {name: self.scan.parameter(name) for name in parameters}
            blocks = neuron.blocks(self.before, self.current, values)
            if not torch.compiler.is_compiling():  # a graph holds the blocks, not the tape
                self._blocks[parameters] = blocks
        return blocks

    def reverse(self, cotangents: Cotangents, pull: Pull) -> Gradients:
        """Return the gradients of the window; see `tracetorch.backends.interface`."""
        c, blocks, rank = cotangents, self.blocks(pull.parameters), cotangents.z.dim()
        signal, level = padded(c.z, self.current.shape[0]), c.level
        below = self._below(blocks, c.z) if pull.below else None
        if c.filter is not None and level is not None:
            signal, level = filter_reverse(c.filter, signal, level)
        if c.raw is not None:
            signal = signal + padded(c.raw, self.current.shape[0])
        fed = None
        if pull.constant is not None:
            blocks = _replaced(blocks, pull.constant)
        if not pull.linked:
            states: Sequence[Entry] = [None] * len(blocks.B)
            start: Sequence[Entry] = [None] * len(blocks.B)
        elif c.fed is not None and self.scan.recurrent is not None:
            signal, states, start, fed = self._recurrent(blocks, signal, c, self.scan.recurrent)
        else:
            states, start = reverse_scan(
                blocks.A, blocks.D, signal, list(c.s.unbind(0)), self.current.shape[0], rank=rank
            )
        drive, several = blocks.B if pull.linked else [None] * len(blocks.B), rank < self.current.dim()
        current = combine(blocks.psi, drive, _shared(signal, several), [_shared(x, several) for x in states])
        parameters = {}
        for name in pull.parameters:
            value = combine(blocks.Q[name], blocks.P[name], signal, states)
            parameters[name] = torch.zeros_like(c.s[0]) if value is None else value.expand(signal.shape).sum(0)
        return Gradients(
            torch.zeros_like(self.current) if current is None else current.expand(self.current.shape),
            expanded(start, c.s[0]),
            parameters,
            level,
            fed,
            below,
        )

    def _below(self, blocks: Blocks, z_bar: Tensor) -> Tensor:
        psi, z_bar = blocks.psi, z_bar if z_bar.dim() == self.current.dim() else z_bar.unsqueeze(2)
        if psi is None:
            return torch.zeros_like(z_bar)
        if psi.dim() == z_bar.dim() and psi.shape[0] > z_bar.shape[0]:
            psi = psi[-z_bar.shape[0] :]
        return psi * z_bar

    def _recurrent(
        self, blocks: Blocks, z_bar: Tensor, cotangents: Cotangents, synapse: Synapse
    ) -> tuple[Tensor, list[Entry], list[Entry], Tensor]:
        r"""Go back step by step, the outputs' cotangents fed by :math:`R^\top q_{t+1}`."""
        rank, carried, fed = z_bar.dim(), list(cotangents.s.unbind(0)), cotangents.fed
        weight = synapse.feedback_weight()
        totals, states = [], []
        for step in reversed(range(z_bar.shape[0])):
            here = _at(blocks, step, rank)
            total = z_bar[step] if fed is None else z_bar[step] + fed
            after, before = reverse_scan(here.A, here.D, total.unsqueeze(0), carried, 1, rank=rank)
            several = rank < self.current.dim()
            q = combine(here.psi, here.B, _shared(total.unsqueeze(0), several), [_shared(x, several) for x in after])
            shape = self.current.shape[1:]
            q = total.new_zeros(shape) if q is None else q[0].expand(shape)
            fed = synapse.input_grad(q, self.fed[step], None if weight is None else weight.to(q.dtype))
            totals.append(total)
            states.append([torch.zeros_like(total) if x is None else x[0].expand(total.shape) for x in after])
            carried = [torch.zeros_like(total) if x is None else x for x in before]
        history: list[Entry] = [torch.stack([row[i] for row in reversed(states)]) for i in range(len(carried))]
        last = torch.zeros_like(z_bar[0]) if fed is None else fed
        return torch.stack(totals[::-1]), history, list(carried), last


class Torch:
    """Scan step by step in torch: the backend that serves everything and against which the others are tested."""

    name = "torch"

    def why_not(self, scan: Scan) -> str:
        """Return an empty text: nothing is refused."""
        return ""

    def pays(self, scan: Scan) -> bool:
        """Return True: it needs no start."""
        return True

    def events(self, xs: Tensor, weight: Tensor, sparse: bool | None = None) -> None:
        """Return None: products are torch's own."""

    def convolution(self, synapse: Synapse, xs: Tensor, sparse: bool | None = None) -> None:
        """Return None: products are the synapse's own."""

    def forward(self, scan: Scan, save: Save) -> Outputs:
        """Scan forward; see `tracetorch.backends.interface`."""
        s, z = scan.s, scan.z
        before: list[tuple[Tensor, ...]] = []
        currents: list[Tensor] = []
        outputs: list[Tensor] = []
        fed: list[Tensor] = []
        for current in scan.drive.unbind(0):
            if scan.recurrent is not None and z is not None:
                current = current + _fed(scan.recurrent, z, current)
                fed.append(z)
            before.append(s)
            drive = current if len(scan.neuron.currents) == 1 else scan.neuron.pack_currents(current.unbind(1))
            after, z = scan.neuron.step(scan.neuron.pack(s), drive)
            s = tuple(after)
            currents.append(current)
            outputs.append(z)
        out = _stack(outputs)
        if scan.out is not None:
            out = scan.out.copy_(out)
        tape = None
        if save.tape or save.sensitivity is not None:
            history = tuple(_stack([row[i] for row in before]) for i in range(len(s)))
            tape = TorchTape(scan, history, scan.drive if scan.recurrent is None else _stack(currents), fed)
        if tape is None or save.sensitivity is None:
            return Outputs(out, s, tape)
        sigma, level, gain = sensitivity(tape, save.sensitivity)
        return Outputs(out, s, tape, sigma, level, gain)

    def credit_back(
        self,
        signal: Tensor,
        gain: tuple[Tensor, Tensor],
        weight: Tensor,
        bucket: Tensor,
        decay: Tensor,
        *,
        sent: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Filter the credit of averages backwards in time; see `tracetorch.backends.interface`."""
        credit = gain[0] / gain[1].unsqueeze(-1) * signal
        level = weight.transpose(1, 2)[..., bucket] if bucket.numel() else weight[:, 0].unsqueeze(-1)
        filtered, leaving = reverse_sums(credit / level, decay, None)
        return filtered, leaving, credit


def sensitivity(tape: TorchTape, request: Sensitivity) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sensitivities of the states and of the filter after a window, and those of the outputs."""
    blocks, current = tape.blocks(), tape.current
    steps, rank = current.shape[0], current.dim()
    each, out = blocks.A, blocks.D
    if len(tape.scan.neuron.currents) > 1:
        each, out = [[_of_each(x, rank) for x in row] for row in blocks.A], [_of_each(x, rank) for x in blocks.D]
    before, end = linear_scan(each, blocks.B, list(request.sigma.unbind(0)), steps, rank=rank)
    total: Entry = blocks.psi
    for entry, value in zip(out, before, strict=True):
        total = multiply_add(total, entry, value)
    gain = torch.zeros_like(current) if total is None else total.expand(current.shape)
    level = request.level
    if request.filter is not None:
        gain, level = filter_forward(request.filter, gain, level)
    return expanded(end, current[0]), level, gain if request.history else gain[-1:]


def _of_each(entry: Entry, rank: int) -> Entry:
    """Return a block, `[T, B, *unit]` where it varies, as one for each of several currents, which have `rank`."""
    return entry.unsqueeze(2) if entry is not None and entry.dim() == rank - 1 else entry


def combine(direct: Entry, through: Sequence[Entry], z_bar: Entry, states: Sequence[Entry]) -> Entry:
    """Return `direct * z_bar + sum_i through[i] * states[i]`: what reaches one thing that outputs and states depend on.

    The cotangents are those of the outputs and of the S states after each step, `[T, B, *unit]`; None is zero.
    """
    total = multiply_add(None, direct, z_bar)
    for entry, state in zip(through, states, strict=True):
        total = multiply_add(total, entry, state)
    return total


def _shared(value: Entry, several: bool) -> Entry:
    """Return a value per unit, `[T, B, *unit]`, as one that broadcasts over several currents, `[T, B, 1, *unit]`."""
    return value.unsqueeze(2) if several and value is not None else value


def _fed(recurrent: Synapse, z: Tensor, current: Tensor) -> Tensor:
    recurrent.check(z)
    dtype = recurrent.weights()[0].dtype
    if z.dtype != dtype and not torch.is_autocast_enabled(z.device.type):
        z = z.to(dtype)
    fed = recurrent.current(z).to(current.dtype)
    if fed.shape != current.shape:
        raise ValueError(
            f"a recurrent synapse gives currents of the units' shape {list(current.shape[1:])} from such outputs; "
            f"this one gives {list(fed.shape[1:])}"
        )
    return fed


def _stack(rows: Sequence[Tensor]) -> Tensor:
    return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(tuple(rows))


def _at(blocks: Blocks, step: int, rank: int) -> Blocks:
    def one(entry: Entry) -> Entry:
        if entry is None or entry.dim() < rank:
            return entry
        return entry[step : step + 1] if entry.shape[0] > 1 else entry

    return Blocks(
        [[one(x) for x in row] for row in blocks.A],
        [one(x) for x in blocks.B],
        [one(x) for x in blocks.D],
        one(blocks.psi),
    )


def _replaced(blocks: Blocks, constant: tuple[Tensor, Tensor]) -> Blocks:
    a, b = constant
    names: Mapping[str, Entry] = blocks.Q
    return Blocks(
        [list(row.unbind(0)) for row in a.unbind(0)], list(b.unbind(0)), blocks.D, blocks.psi, blocks.P, names
    )
