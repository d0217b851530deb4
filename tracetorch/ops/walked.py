"""What may be asked of a walk through a window and what it gives, whichever kernels do it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor


class Step(Hashable, Protocol):
    """Say what a neuron brings to the kernels: the file and name of its step, and what is put into it."""

    step: str
    states: int
    parameters: tuple[str, ...]
    numbers: Mapping[str, float]
    flags: Mapping[str, bool]
    names: Mapping[str, str]
    source: Path
    text: str

    @property
    def key(self) -> str:
        """What tells this step from any other."""


@dataclass(frozen=True)
class Asked:
    """Say what a forward walk is to keep.

    Args:
        record: the currents.
        states: the states before each step.
        traced: sensitivities `[S, B, N]`, their decayed sum `[B, N]` and its decay, to go on with; None for none.
        history: that sum after every step.
        sums: weights `[R, T]` and start `[R, B, K]` of weighted sums of the inputs, where a synapse is given.
        room: for how many more steps the outputs leave room.
    """

    record: bool = False
    states: bool = False
    traced: tuple[Tensor, Tensor, float] | None = None
    history: bool = False
    sums: tuple[Tensor, Tensor] | None = None
    room: int = 0


@dataclass(frozen=True)
class Wants:
    """Say what a reverse walk is to do and keep.

    Args:
        linked: carry cotangents from step to step; else `q = psi L`.
        history: keep the states' cotangents and the filtered signal.
        sent: keep `psi L` for the layer below.
    """

    linked: bool = True
    history: bool = False
    sent: bool = False


@dataclass(frozen=True)
class Forward:
    """Hold what the forward walk gave; what was not asked for is empty.

    Args:
        z: outputs, `[T, B, N]`.
        last: states and counter after the window, `[B, N]` each.
        before: states and counter before each step, `[T, B, N]` each.
        drive: currents, `[T, B, N]`.
        sigma: sensitivities of the states to a constant current, `[S, B, N]`.
        h: decayed sum of the outputs' sensitivities, `[B, N]`.
        history: that sum after every step, `[T, B, N]`.
        sums: weighted sums of the inputs, `[R, B, K]`.
        finite: whether the inputs were finite; told only where they were walked by events.
    """

    z: Tensor
    last: tuple[Tensor, ...]
    before: tuple[Tensor, ...]
    drive: Tensor
    sigma: Tensor
    h: Tensor
    history: Tensor
    sums: Tensor
    finite: bool


@dataclass(frozen=True)
class Reverse:
    """Hold what the reverse walk gave; what was not asked for is empty.

    Args:
        drive: cotangents of the currents, `[T, B, N]`.
        states: cotangents of the states after each step, `[S, T, B, N]`.
        signal: filtered cotangents of the outputs, `[T, B, N]`.
        start: cotangents of the states before the window, `[S, B, N]`.
        leaving: the filter's cotangent that leaves the window, `[B, N]`.
        below: psi times the unfiltered cotangents of the outputs, of their shape.
    """

    drive: Tensor
    states: Tensor
    signal: Tensor
    start: Tensor
    leaving: Tensor
    below: Tensor
