"""Run a step once on single elements, and its derivatives, and note each operator that torch dispatches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from tracetorch.neurons.binding import bind, tensor_names
from tracetorch.neurons.lowering.expressions import Input, Line, Program, Ref, Value, inputs_of, needed
from tracetorch.neurons.lowering.lowered import Lowered, NotLowered, flat
from tracetorch.neurons.lowering.operators import OPERATORS, UnsupportedError

_WHERE = 0.375
"""Value at which the inputs stand; only operators are read off, never values."""


class _Recorder(TorchDispatchMode):
    """Note every operator as scalar expressions; tensors are known by their storage, which views and copies share."""

    def __init__(self, inputs: Mapping[Input, Tensor]) -> None:
        super().__init__()
        self.program = Program()
        self.known: dict[int, Value] = {t.data_ptr(): name for name, t in inputs.items()}
        self.alive: list[Tensor] = list(inputs.values())  # a freed storage would be reused for another value

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler to skip it: seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.__name__.split(".")[0]
        operator = OPERATORS.get(name)
        if operator is None:
            with self:
                return self._decomposed(func, args, kwargs)
        out = func(*args, **kwargs)
        if not isinstance(out, Tensor) or out.numel() != 1:
            raise UnsupportedError(f"aten.{name} with a result that is not one element")
        if name in ("lift_fresh", "lift_fresh_copy"):
            self.known.setdefault(out.data_ptr(), self._constant(args[0]))
        value = operator(self.program, *map(self.operand, args), **{k: self.operand(v) for k, v in kwargs.items()})
        self.known[out.data_ptr()] = value
        self.alive.append(out)
        return out

    def operand(self, arg: Any) -> Any:
        """Return a tensor or a number of Python as an operand; leave what else an operator takes."""
        if isinstance(arg, bool) or not isinstance(arg, Tensor | int | float):
            return arg
        if not isinstance(arg, Tensor):
            return float(arg)
        value = self.known.get(arg.data_ptr())
        if value is None:
            raise UnsupportedError("a tensor that is no input, parameter or buffer; keep it with register_buffer")
        return value

    @staticmethod
    def _constant(tensor: Tensor) -> Value:
        number = tensor.item()
        return number if isinstance(number, bool) else float(number)

    def _decomposed(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func in decomposition_table:
            return decomposition_table[func](*args, **kwargs)
        out = func.decompose(*args, **kwargs)
        if out is NotImplemented:
            raise UnsupportedError(str(func))
        return out


def _rows(outputs: Sequence[Any], wrt: list[Tensor]) -> list[list[Tensor | None]]:
    """Return the derivatives of each output with respect to each tensor; None for zero.

    An output has one element, so that torch forms the cotangent itself (given one, it would import a second of code).
    """
    return [
        list(torch.autograd.grad(o, wrt, retain_graph=True, allow_unused=True))
        if o.requires_grad
        else [None] * len(wrt)
        for o in outputs
    ]


def _same(tensor: Tensor) -> Tensor:
    return tensor


def trace(neuron: Any) -> Lowered | NotLowered:
    """Lower a neuron's step with all its derivatives to a list of scalar assignments.

    Args:
        neuron: the neuron; its `step`, `state`, `counters` and `currents` are read.

    Returns:
        The program, or the reason why there is none.
    """
    sizes = {"s": len(neuron.state), "c": len(neuron.counters), "i": len(neuron.currents)}
    names = tensor_names(neuron)
    sizes["p"] = len(names)
    inputs = {
        Input(kind, k): torch.full((1,), _WHERE, dtype=torch.float64, device="cpu", requires_grad=kind != "c")
        for kind, size in sizes.items()
        for k in range(size)
    }
    try:
        with (
            torch.random.fork_rng(devices=[]),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            saved_tensors_hooks(_same, _same),  # those of torch.utils.checkpoint would run the layer again
        ):
            return _lowered(neuron, inputs, names)
    except UnsupportedError as found:
        return NotLowered(str(found))
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return NotLowered(f"the step fails on one element: {error}")


def _lowered(neuron: Any, inputs: Mapping[Input, Tensor], names: tuple[str, ...]) -> Lowered:
    inputs = {key: t if key.kind == "c" else t.detach().clone().requires_grad_() for key, t in inputs.items()}
    of = {kind: [t for key, t in inputs.items() if key.kind == kind] for kind in "scip"}
    size = len(of["s"])
    wrt = [*of["s"], *of["i"], *of["p"]]
    recorder = _Recorder(inputs)
    with recorder:
        view = bind(neuron, dict(zip(names, of["p"], strict=True)))
        after, z = view.step(neuron.pack((*of["s"], *of["c"])), neuron.pack_currents(of["i"]))
        outputs = (*after, z)
        if len(outputs) != size + len(of["c"]) + 1:
            raise UnsupportedError(f"a step that returns {len(outputs) - 1} variables of {size + len(of['c'])}")
        rows = _rows((*outputs[:size], z), wrt)
    values = [recorder.program.number(recorder.operand(o)) for o in outputs]
    entries = [[0.0 if g is None else recorder.program.number(recorder.operand(g)) for g in row] for row in rows]
    return _assembled(recorder.program, values, entries, sizes=[len(of[k]) for k in "sci"], names=names)


def _assembled(
    program: Program, values: list[Value], rows: list[list[Value]], *, sizes: list[int], names: tuple[str, ...]
) -> Lowered:
    """Cut the derivatives into blocks, and drop parameters that nothing reads and lines that nothing needs."""
    size, counters, currents = sizes
    read = {v.index for v in inputs_of(program.lines, (*values, *flat(map(tuple, rows)))) if v.kind == "p"}
    used = sorted(read)
    new_index = {old: k for k, old in enumerate(used)}
    live = needed(program.lines, [*values, *flat(map(tuple, rows))])
    new_line = {old: k for k, old in enumerate(live)}

    def moved(v: Value) -> Value:
        if isinstance(v, Ref):
            return Ref(new_line[v.line])
        return Input("p", new_index[v.index]) if isinstance(v, Input) and v.kind == "p" else v

    states, z_row = [[moved(v) for v in row] for row in rows[:size]], [moved(v) for v in rows[size]]
    by_current = tuple(tuple(row[size + k] for row in states) for k in range(currents))
    psi = tuple(z_row[size : size + currents])
    at = [size + currents + k for k in used]
    return Lowered(
        states=size,
        counters=counters,
        currents=currents,
        parameters=tuple(names[k] for k in used),
        lines=tuple(Line(program.lines[k].op, tuple(map(moved, program.lines[k].args))) for k in live),
        next_states=tuple(map(moved, values[:size])),
        next_counters=tuple(map(moved, values[size : size + counters])),
        z=moved(values[-1]),
        A=tuple(tuple(row[:size]) for row in states),
        B=by_current if currents > 1 else by_current[0],
        D=tuple(z_row[:size]),
        psi=psi if currents > 1 else psi[0],
        P=tuple(tuple(row[k] for row in states) for k in at),
        Q=tuple(z_row[k] for k in at),
    )
