"""Lowered steps by the neuron's configuration, and the functions of tensors that derive from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from tracetorch.neurons.lowering.configuration import configuration, reads
from tracetorch.neurons.lowering.emit import Function, tensor_blocks, tensor_constant
from tracetorch.neurons.lowering.expressions import Input
from tracetorch.neurons.lowering.lowered import Lowered, NotLowered
from tracetorch.neurons.lowering.trace import trace
from tracetorch.neurons.resets import Reset

PROGRAMS = 256
"""Number of lowered steps that are stored, for as many configurations of neurons."""
_PROGRAMS: dict[tuple[Any, ...], Lowered | NotLowered] = {}

OnTensors = tuple[tuple[str, ...], Function]
"""Names of the parameters that a function takes, and the function."""


def program_of(neuron: Any, *, detach_reset: bool = False) -> Lowered | NotLowered:
    """Return a neuron's lowered step, or why there is none; traced once for all neurons of the same configuration.

    The neuron may be a view by `bind`; `detach_reset` leaves out the reset's derivative with respect to the spike.
    """
    known = neuron.__dict__.get("_lowered", {})
    if "_lowered_of" in neuron.__dict__ and detach_reset in known:
        return known[detach_reset]  # type: ignore[no-any-return] # of a view: what its source had when it was made
    neuron = source_of(neuron)
    known = neuron.__dict__.get("_lowered")
    if known is None or any(space.get(name) is not value for space, name, value in known["reads"]):
        known = neuron.__dict__["_lowered"] = {"reads": reads(type(neuron))}
    found = known.get(detach_reset)
    if found is not None:
        return found  # type: ignore[no-any-return]
    described = _detached(neuron) if detach_reset else neuron
    key, settled = configuration(described)
    program = _PROGRAMS.get(key)
    if program is None:
        program = trace(described)
        while len(_PROGRAMS) >= PROGRAMS:
            _PROGRAMS.pop(next(iter(_PROGRAMS)))
        _PROGRAMS[key] = program
    if settled and not any(name != "parametrizations" for name in neuron._modules):
        known[detach_reset] = program
    return program


def source_of(neuron: Any) -> Any:
    """Return the neuron whose step a view by `bind` runs; the neuron itself where it is no view."""
    return neuron.__dict__.get("_lowered_of", neuron)


def _detached(neuron: Any) -> Any:
    """Return a view of a neuron whose attribute `reset` leaves out the derivative with respect to the spike."""
    reset = neuron.__dict__.get("reset")
    if not isinstance(reset, Reset) or not reset.gradient:
        return neuron
    view = object.__new__(type(neuron))
    view.__dict__.update(neuron.__dict__, reset=replace(reset, gradient=False))
    return view


def blocks_of(neuron: Any, learned: tuple[str, ...]) -> OnTensors | None:
    """Return a neuron's blocks as a function of tensors, P and Q by `learned`; None where the step is not lowered."""
    if torch.compiler.is_compiling():
        return getattr(_GRAPHS, _named(source_of(neuron), learned))  # type: ignore[no-any-return]
    return _blocks(neuron, learned)


def constant_of(neuron: Any, *, detach_reset: bool) -> OnTensors | None:
    """Return A and B as a function of parameters alone; None where they depend on anything else, or are not lowered.

    `detach_reset` leaves out the derivative that runs through a spike into the reset.
    """
    if torch.compiler.is_compiling():
        return getattr(_GRAPHS, _named(source_of(neuron), detach_reset))  # type: ignore[no-any-return]
    return _constant(neuron, detach_reset)


def _blocks(source: Any, learned: tuple[str, ...]) -> OnTensors | None:
    program = program_of(source)
    if not isinstance(program, Lowered):
        return None
    return _remembered(source, program, learned, lambda: (program.parameters, tensor_blocks(program, learned)))


def _constant(source: Any, detach_reset: bool) -> OnTensors | None:
    program = program_of(source, detach_reset=detach_reset)
    if not isinstance(program, Lowered) or program.currents > 1:
        return None
    return _remembered(source, program, ("constant", detach_reset), lambda: _parameters_alone(program))


def _parameters_alone(program: Lowered) -> OnTensors | None:
    inputs = program.inputs(program.A, program.B)
    if any(v.kind != "p" for v in inputs):
        return None
    names = tuple(n for k, n in enumerate(program.parameters) if Input("p", k) in inputs)
    return names, tensor_constant(program)


def _remembered(
    source: Any, program: Lowered, what: tuple[Any, ...], derive: Callable[[], OnTensors | None]
) -> OnTensors | None:
    """Return what is derived from a neuron's program, once for as long as the neuron has this program."""
    known = source.__dict__.setdefault("_lowered", {"reads": reads(type(source))}).setdefault("derived", {})
    found = known.get(what)
    if found is None or found[0] is not program:
        found = known[what] = (program, derive())
    return found[1]  # type: ignore[no-any-return]


class _Graphs:
    """What compiled graphs have looked up, by name: a graph can read an attribute, but be given no function."""


_GRAPHS = _Graphs()


def _named(source: Any, request: tuple[str, ...] | bool) -> str:
    """Enter the blocks of a neuron, or A and B, into the table of graphs; return the name."""
    found = _constant(source, request) if isinstance(request, bool) else _blocks(source, request)
    program = program_of(source, detach_reset=request is True)
    name = f"f{hashlib.sha256(f'{program!r} {request!r}'.encode()).hexdigest()}"
    vars(_GRAPHS).setdefault(name, found)
    return name


# What torch.compiler.assume_constant_result sets, without the seconds that its import takes: under torch.compile the
# program is looked up once, outside the graph, and its function of tensors is compiled like any other code.
_named._dynamo_marked_constant = True  # type: ignore[attr-defined]
