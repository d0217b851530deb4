"""Names that the loader puts into the template of online learning, with values that let tools read it."""

from __future__ import annotations

from typing import Any

from tracetorch.ops.fused.names import FAST, F, P, S, U

PRE: bool = False
"""Whether a layer keeps one trace per input."""
FULL: bool = False
"""Whether it keeps one trace per weight."""
FILTERED: bool = False
"""Whether what its weights did to its outputs is filtered besides, with one trace per weight."""
FACTOR: bool = False
"""Whether it averages inputs and sensitivities apart."""
GAIN: bool = False
"""Whether it sends the sensitivity to a constant current below, in place of the surrogate."""
SENDS: bool = False
"""Whether there is a layer below."""
FEEDBACK: bool = False
"""Whether what is sent below goes through a matrix of its own."""
FRESH: bool = False
"""Whether credit is written to memory that holds nothing yet, in the place of being added to weights."""
LEVEL: int = 0
"""Row of the layer in the table."""
SUMS: dict[str, Any] = {}
"""Options of the compiler for sums, which may be formed in any order."""
TINY: Any = 1e-30
"""What is smaller than this is zero: numbers below the normal range are slow."""


def njit(**options: Any) -> Any:
    """Compile a function."""
    raise NotImplementedError


def reals(address: int, shape: Any) -> Any:
    """Return the array of scalars at an address."""
    raise NotImplementedError


def integers(address: int, shape: Any) -> Any:
    """Return the array of 64-bit integers at an address."""
    raise NotImplementedError


def rest(table: Any, z: int, z_bar: int, target: int, mode: int, rate: float) -> Any:
    """Run what follows the layer: the next one, or the loss."""
    raise NotImplementedError


def normal(x: Any) -> Any:
    """Return a number, or zero where it is all but that."""
    raise NotImplementedError


def currents(cur: Any, weight: Any, x: Any, index: Any) -> None:
    """Form the currents of some units."""
    raise NotImplementedError


def add(row: Any, c: Any, x: Any) -> None:
    """Add a multiple of a row to a row."""
    raise NotImplementedError


def add_two(row: Any, c: Any, x: Any, d: Any, y: Any) -> None:
    """Add multiples of two rows to a row."""
    raise NotImplementedError


def add_events(row: Any, c: Any, x: Any, index: Any) -> None:
    """Add a multiple of a row's events to a row."""
    raise NotImplementedError


def decay(row: Any, a: Any) -> None:
    """Let a row decay."""
    raise NotImplementedError


def carry_one(e: Any, a: Any, c: Any, x: Any) -> None:
    """Carry a trace of one state on."""
    raise NotImplementedError


def carry_two(e: Any, f: Any, A: Any, B: Any, x: Any) -> None:
    """Carry a trace of two states on."""
    raise NotImplementedError


__all__ = [
    "FACTOR",
    "FAST",
    "FEEDBACK",
    "FILTERED",
    "FRESH",
    "FULL",
    "GAIN",
    "LEVEL",
    "PRE",
    "SENDS",
    "SUMS",
    "TINY",
    "F",
    "P",
    "S",
    "U",
    "add",
    "add_events",
    "add_two",
    "carry_one",
    "carry_two",
    "currents",
    "decay",
    "integers",
    "njit",
    "normal",
    "reals",
    "rest",
]
