"""What compiled code does to arrays by the place of an element: no slice is made, no index is taken from the end.

A slice of an array costs a compiled loop the counting of references, and an index that may be negative costs it its
vector instructions. Arrays are contiguous here, and `at` is where in them an element lies, whatever their dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from tracetorch.backends.numba.inner import inner

_INT = ir.IntType(32)
LANES = 16
"""Values that `found` looks at together, and room that a list of events needs beyond their number."""


def _features() -> str:
    """Return what the processor that is compiled for can do, as Numba is told by its environment, and else this one."""
    if config.CPU_FEATURES is not None or config.CPU_NAME not in (None, "host"):
        return str(config.CPU_FEATURES or "")
    return str(binding.get_host_cpu_features().flatten()) if config.ENABLE_AVX else ""


PICKS = "+avx512f" in _features().split(",")
"""Whether the processor can draw together the chosen lanes of a vector."""


def place_of(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Return the address of an element."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at], inbounds=True)


@intrinsic
def pointer(typing: Any, address: Any) -> Any:
    """Return an address as a pointer, of which `numba.carray` makes an array."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), build


@intrinsic
def advance(typing: Any, counter: Any) -> Any:
    """Return the integer at a pointer and add one to it, as one step that no other thread comes between."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", args[0], ir.Constant(args[0].type.pointee, 1), "monotonic")

    return counter.dtype(counter), build


@intrinsic
def load(typing: Any, array: Any, at: Any) -> Any:
    """Return the element of an array at a place."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(place_of(context, builder, signature.args[0], *args))

    return array.dtype(array, types.intp), build


@intrinsic
def store(typing: Any, array: Any, at: Any, value: Any) -> Any:
    """Set the element of an array at a place."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], place_of(context, builder, signature.args[0], *args[:2]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), build


@intrinsic
def ahead(typing: Any, array: Any, at: Any) -> Any:
    """Prefetch a place of memory, which may lie beyond the array."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, _INT, _INT, _INT])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(fetch, [place, _INT(0), _INT(3), _INT(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), build


@intrinsic
def _pick(typing: Any, x: Any, at: Any, index: Any, count: Any, k: Any) -> Any:
    """Write from `index[count]` on which lanes from `x[at]` on are not zero, the first called `k`; count them."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(signature.args[0].dtype)
        values, numbers = ir.VectorType(element, LANES), ir.VectorType(_INT, LANES)

        def all_of(vector: Any, value: Any) -> Any:
            return ir.Constant(vector, [ir.Constant(vector.element, value)] * LANES)

        source = builder.bitcast(place_of(context, builder, signature.args[0], *args[:2]), values.as_pointer())
        loaded = builder.load(source, align=element.get_abi_alignment(context.target_data))
        chosen = builder.fcmp_unordered("!=", loaded, all_of(values, 0.0))
        first = builder.insert_element(ir.Constant(numbers, ir.Undefined), builder.trunc(args[4], _INT), _INT(0))
        spread = builder.shuffle_vector(first, first, all_of(numbers, 0))
        lanes = builder.add(spread, ir.Constant(numbers, [ir.Constant(_INT, i) for i in range(LANES)]))
        kind = ir.FunctionType(numbers, [numbers, numbers, chosen.type])
        compress = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.mask.compress.v16i32")
        drawn = builder.call(compress, [lanes, all_of(numbers, 0), chosen])
        target = builder.bitcast(place_of(context, builder, signature.args[2], *args[2:4]), numbers.as_pointer())
        builder.store(drawn, target, align=4)
        return builder.zext(builder.ctpop(builder.bitcast(chosen, ir.IntType(LANES))), ir.IntType(64))

    return types.intp(x, types.intp, index, types.intp, types.intp), build


@inner
def found(x, at, size, index, count, jump):
    """Write down from `index[count]` on which of `size` values from a place on are not zero; return the new count.

    There is no branch in it. `index` has room for `LANES` more than may be found; what lies `jump` further is what will
    be looked at next.
    """
    k = 0
    if PICKS:
        while k + LANES <= size:
            ahead(x, at + jump + k)
            count += _pick(x, at + k, index, count, k)
            k += LANES
    while k < size:
        store(index, count, k)
        count += load(x, at + k) != 0
        k += 1
    return count


@inner
def gather(values, x, at, index, e, end):
    """Write to `values[e:end]` the elements of `x` that lie from a place on where `index[e:end]` says."""
    for i in range(e, end):
        store(values, i, load(x, at + np.intp(load(index, i))))


@inner
def add_rows(out, to, x, at, jump, rows, first, apart, width, order, e, end):
    """Add to `width` values of `out` the rows that `order[e:end]` names, each times its value, four at a time.

    The value of a row lies in `x` at `at + row * jump`, the row itself in `rows` at `first + row * apart`.
    """
    while e + 4 <= end:
        r0, r1 = np.intp(load(order, e)), np.intp(load(order, e + 1))
        r2, r3 = np.intp(load(order, e + 2)), np.intp(load(order, e + 3))
        x0, x1 = load(x, at + r0 * jump), load(x, at + r1 * jump)
        x2, x3 = load(x, at + r2 * jump), load(x, at + r3 * jump)
        a0, a1, a2, a3 = first + r0 * apart, first + r1 * apart, first + r2 * apart, first + r3 * apart
        for n in range(width):
            one = x0 * load(rows, a0 + n) + x1 * load(rows, a1 + n)
            two = x2 * load(rows, a2 + n) + x3 * load(rows, a3 + n)
            store(out, to + n, load(out, to + n) + (one + two))
        e += 4
    while e < end:
        r = np.intp(load(order, e))
        value, a = load(x, at + r * jump), first + r * apart
        for n in range(width):
            store(out, to + n, load(out, to + n) + value * load(rows, a + n))
        e += 1


@inner
def add_chosen(out, to, values, rows, first, apart, width, order, e, end):
    """Do the same with values that stand in the order of the rows, `values[e:end]`."""
    while e + 4 <= end:
        r0, r1 = np.intp(load(order, e)), np.intp(load(order, e + 1))
        r2, r3 = np.intp(load(order, e + 2)), np.intp(load(order, e + 3))
        x0, x1, x2, x3 = load(values, e), load(values, e + 1), load(values, e + 2), load(values, e + 3)
        a0, a1, a2, a3 = first + r0 * apart, first + r1 * apart, first + r2 * apart, first + r3 * apart
        for n in range(width):
            one = x0 * load(rows, a0 + n) + x1 * load(rows, a1 + n)
            two = x2 * load(rows, a2 + n) + x3 * load(rows, a3 + n)
            store(out, to + n, load(out, to + n) + (one + two))
        e += 4
    while e < end:
        r = np.intp(load(order, e))
        value, a = load(values, e), first + r * apart
        for n in range(width):
            store(out, to + n, load(out, to + n) + value * load(rows, a + n))
        e += 1


@inner
def backwards(steps):
    """Return the steps from the last to the first.

    A loop that counts down itself would have its vectors only where they may be checked once for all steps, which
    LLVM does for steps upwards alone.
    """
    order = np.empty(steps, np.intp)
    for r in range(steps):
        store(order, r, steps - 1 - r)
    return order


@inner
def take(w, at, array, place, size):
    """Copy `size` values from a place of an array to a place of the work space."""
    for j in range(size):
        store(w, at + j, load(array, place + j))


@inner
def take_rows(w, at, width, array, place, apart, rows, size):
    """Copy rows that lie `apart` in an array to rows that lie `width` apart in the work space."""
    for i in range(rows):
        for j in range(size):
            store(w, at + i * width + j, load(array, place + i * apart + j))


@inner
def clear(w, at, size):
    """Set values to zero."""
    for j in range(size):
        store(w, at + j, 0)


@inner
def add_sums(sums, weights, x, sizes, at, row, index, first, end):
    """Add a step's events to weighted sums of the inputs, `[R, B, K]`.

    `sizes` are R and the distances between rows of `weights`, `[R, T]`, and of `sums`; `at` is the step and the place.
    """
    for i in range(sizes[0]):
        weight, to = load(weights, i * sizes[1] + at[0]), i * sizes[2] + at[1]
        for e in range(first, end):
            k = np.intp(load(index, e))
            store(sums, to + k, load(sums, to + k) + weight * load(x, row + k))
