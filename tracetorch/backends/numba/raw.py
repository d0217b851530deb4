"""What compiled code does to arrays by the place of an element: no slice is made, no index is taken from the end.

A slice of an array costs a compiled loop the counting of references, and an index that may be negative costs it its
vector instructions. Arrays are contiguous here, and `at` is where in them an element lies, whatever their dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils, config
from numba.extending import intrinsic

from tracetorch.backends.numba.options import FAST

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


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
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
        return builder.load(_place(context, builder, signature.args[0], *args))

    return array.dtype(array, types.intp), build


@intrinsic
def store(typing: Any, array: Any, at: Any, value: Any) -> Any:
    """Set the element of an array at a place."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, signature.args[0], *args[:2]))
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

        source = builder.bitcast(_place(context, builder, signature.args[0], *args[:2]), values.as_pointer())
        loaded = builder.load(source, align=element.get_abi_alignment(context.target_data))
        chosen = builder.fcmp_unordered("!=", loaded, all_of(values, 0.0))
        first = builder.insert_element(ir.Constant(numbers, ir.Undefined), builder.trunc(args[4], _INT), _INT(0))
        spread = builder.shuffle_vector(first, first, all_of(numbers, 0))
        lanes = builder.add(spread, ir.Constant(numbers, [ir.Constant(_INT, i) for i in range(LANES)]))
        kind = ir.FunctionType(numbers, [numbers, numbers, chosen.type])
        compress = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.mask.compress.v16i32")
        drawn = builder.call(compress, [lanes, all_of(numbers, 0), chosen])
        target = builder.bitcast(_place(context, builder, signature.args[2], *args[2:4]), numbers.as_pointer())
        builder.store(drawn, target, align=4)
        return builder.zext(builder.ctpop(builder.bitcast(chosen, ir.IntType(LANES))), ir.IntType(64))

    return types.intp(x, types.intp, index, types.intp, types.intp), build


@njit(error_model="numpy")
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


@njit(**FAST)
def gather(values, x, at, index, e, end):
    """Write to `values[e:end]` the elements of `x` that lie from a place on where `index[e:end]` says."""
    for i in range(e, end):
        store(values, i, load(x, at + np.intp(load(index, i))))


@njit(**FAST)
def add_rows(out, to, values, rows, first, apart, width, order, e, end):
    """Add to `width` values of `out` the rows that `order[e:end]` names, each times its value, four at a time.

    The values are `values[e:end]`; a row lies in `rows` at `first + row * apart`.
    """
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


def _lanes(builder: Any, place: Any, element: Any, count: int) -> Any:
    """Return a place of an array as one of a vector."""
    return builder.bitcast(place, ir.VectorType(element, count).as_pointer())


def _adds(count: int) -> Any:
    """Return what adds a multiple of so many values of one array to those of another."""

    @intrinsic
    def add(typing: Any, out: Any, to: Any, rows: Any, at: Any, value: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            element = context.get_value_type(signature.args[0].dtype)
            align = element.get_abi_alignment(context.target_data)
            target = _lanes(builder, _place(context, builder, signature.args[0], *args[:2]), element, count)
            source = _lanes(builder, _place(context, builder, signature.args[2], *args[2:4]), element, count)
            one = builder.insert_element(ir.Constant(ir.VectorType(element, count), ir.Undefined), args[4], _INT(0))
            all_of = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_INT, count), [_INT(0)] * count))
            scaled = builder.fmul(all_of, builder.load(source, align=align), flags=("contract",))
            total = builder.fadd(builder.load(target, align=align), scaled, flags=("contract",))
            builder.store(total, target, align=align)
            return context.get_dummy_value()

        return types.void(out, types.intp, rows, types.intp, out.dtype), build

    return add


def _gathers(count: int, lanes: int) -> Any:
    """Return what adds to so many vectors of `out` rows that events name, each times the event's value.

    The vectors stay in registers for all events from `e` to `end`: an event costs a load and a product for each.
    """

    @intrinsic
    def gather(
        typing: Any, out: Any, to: Any, rows: Any, first: Any, places: Any, values: Any, e: Any, end: Any
    ) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kinds, element = signature.args, context.get_value_type(signature.args[0].dtype)
            align, vector = element.get_abi_alignment(context.target_data), ir.VectorType(element, lanes)
            integer = args[1].type
            sums, targets = [], []
            for i in range(count):
                target = builder.add(args[1], ir.Constant(integer, i * lanes))
                targets.append(_lanes(builder, _place(context, builder, kinds[0], args[0], target), element, lanes))
                sums.append(cgutils.alloca_once(builder, vector))
                builder.store(builder.load(targets[i], align=align), sums[i])
            with cgutils.for_range_slice(builder, args[6], args[7], ir.Constant(integer, 1)) as (event, _):
                place = builder.load(_place(context, builder, kinds[4], args[4], event))
                row = builder.add(args[3], builder.sext(place, integer))
                value = builder.load(_place(context, builder, kinds[5], args[5], event))
                one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _INT(0))
                all_of = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_INT, lanes), [_INT(0)] * lanes))
                for i in range(count):
                    source = builder.add(row, ir.Constant(integer, i * lanes))
                    at = _lanes(builder, _place(context, builder, kinds[2], args[2], source), element, lanes)
                    scaled = builder.fmul(all_of, builder.load(at, align=align), flags=("contract",))
                    builder.store(builder.fadd(builder.load(sums[i]), scaled, flags=("contract",)), sums[i])
            for i in range(count):
                builder.store(builder.load(sums[i]), targets[i], align=align)
            return context.get_dummy_value()

        integer = types.intp
        return types.void(out, integer, rows, integer, places, values, integer, integer), build

    return gather


_gather_eight = _gathers(1, 8)
_gather_1, _gather_2, _gather_3, _gather_4, _gather_6 = (_gathers(count, 16) for count in (1, 2, 3, 4, 6))
_gather_5, _gather_8, _gather_10, _gather_12 = (_gathers(count, 16) for count in (5, 8, 10, 12))


@njit(**FAST)
def gather_rows(out, to, size, rows, first, places, values, e, end):
    """Add to `size` values of `out` the rows that lie at `places[e:end]` behind `first`, each times its value.

    The size is a multiple of `SQUARE`. As many vectors as there are registers for are summed at a time.
    """
    while size >= 16:
        vectors, done = size // 16, 0
        if PICKS and vectors >= 8:
            if vectors >= 12:
                _gather_12(out, to, rows, first, places, values, e, end)
                done = 12
            elif vectors >= 10:
                _gather_10(out, to, rows, first, places, values, e, end)
                done = 10
            else:
                _gather_8(out, to, rows, first, places, values, e, end)
                done = 8
        elif vectors >= 6:
            _gather_6(out, to, rows, first, places, values, e, end)
            done = 6
        elif vectors == 5:
            _gather_5(out, to, rows, first, places, values, e, end)
            done = 5
        elif vectors == 4:
            _gather_4(out, to, rows, first, places, values, e, end)
            done = 4
        elif vectors == 3:
            _gather_3(out, to, rows, first, places, values, e, end)
            done = 3
        elif vectors == 2:
            _gather_2(out, to, rows, first, places, values, e, end)
            done = 2
        else:
            _gather_1(out, to, rows, first, places, values, e, end)
            done = 1
        to, first, size = to + 16 * done, first + 16 * done, size - 16 * done
    if size:
        _gather_eight(out, to, rows, first, places, values, e, end)


_add_sixteen, _add_eight = _adds(16), _adds(8)
SQUARE = 8
"""Rows and columns of the squares that `turn` transposes; widths of `add_run` are multiples of it."""


@njit(**FAST)
def add_run(out, to, rows, at, width, value):
    """Add to `width` values of `out` a multiple of those of `rows`; the width is a multiple of `SQUARE`."""
    k = 0
    while k + 16 <= width:
        _add_sixteen(out, to + k, rows, at + k, value)
        k += 16
    if k < width:
        _add_eight(out, to + k, rows, at + k, value)


@intrinsic
def turn(typing: Any, x: Any, at: Any, jump: Any, known: Any, out: Any, to: Any, apart: Any, rows: Any) -> Any:
    """Transpose a square of values: rows of `x` from `at` on, `jump` apart, to the first `rows` rows of `out`.

    Rows of `x` beyond the first `known` are not read; others are there instead.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(signature.args[0].dtype)
        align, vectors = element.get_abi_alignment(context.target_data), []
        _, at, jump, known, _, to, apart, rows = args
        for i in range(SQUARE):
            there = builder.icmp_signed("<", ir.Constant(known.type, i), known)
            row = builder.select(there, ir.Constant(known.type, i), ir.Constant(known.type, 0))
            place = _place(context, builder, signature.args[0], args[0], builder.add(at, builder.mul(row, jump)))
            vectors.append(builder.load(_lanes(builder, place, element, SQUARE), align=align))
        for step in (4, 2, 1):
            low = [j if not j & step else SQUARE + j - step for j in range(SQUARE)]
            high = [j + step if not j & step else SQUARE + j for j in range(SQUARE)]
            masks = [ir.Constant(ir.VectorType(_INT, SQUARE), [_INT(j) for j in mask]) for mask in (low, high)]
            for i in (i for i in range(SQUARE) if not i & step):
                pair = vectors[i], vectors[i + step]
                vectors[i], vectors[i + step] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        for i, vector in enumerate(vectors):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(rows.type, i), rows)):
                row = builder.mul(ir.Constant(apart.type, i), apart)
                place = _place(context, builder, signature.args[4], args[4], builder.add(to, row))
                builder.store(vector, _lanes(builder, place, element, SQUARE), align=align)
        return context.get_dummy_value()

    integer = types.intp
    return types.void(x, integer, integer, integer, out, integer, integer, integer), build


def _side_by_side(count: int) -> list[Any]:
    """Return masks that take the even and the odd lanes of a vector, and one that puts two vectors together again."""
    lanes = [range(0, 2 * count, 2), range(1, 2 * count, 2), [i // 2 + i % 2 * count for i in range(2 * count)]]
    return [ir.Constant(ir.VectorType(_INT, len(mask)), [_INT(i) for i in mask]) for mask in lanes]


def _chooses(count: int) -> Any:
    """Return what writes the maxima of so many squares of 2 x 2 that lie side by side, and where they lie in each."""

    @intrinsic
    def choose(typing: Any, x: Any, at: Any, jump: Any, out: Any, places: Any, to: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            element, byte = context.get_value_type(signature.args[0].dtype), ir.IntType(8)
            align, values = element.get_abi_alignment(context.target_data), []
            for row in (args[1], builder.add(args[1], args[2])):
                place = _place(context, builder, signature.args[0], args[0], row)
                both = builder.load(_lanes(builder, place, element, 2 * count), align=align)
                values += [builder.shuffle_vector(both, both, mask) for mask in _side_by_side(count)[:2]]
            best, kind = values[0], ir.VectorType(byte, count)
            number = ir.Constant(kind, [byte(0)] * count)
            for i, value in enumerate(values[1:], start=1):
                greater = builder.fcmp_ordered(">", value, best)
                greater = builder.or_(greater, builder.fcmp_unordered("uno", value, value))
                best = builder.select(greater, value, best)
                number = builder.select(greater, ir.Constant(kind, [byte(i)] * count), number)
            target = _place(context, builder, signature.args[3], args[3], args[5])
            builder.store(best, _lanes(builder, target, element, count), align=align)
            target = _place(context, builder, signature.args[4], args[4], args[5])
            builder.store(number, _lanes(builder, target, byte, count), align=1)
            return context.get_dummy_value()

        return types.void(x, types.intp, types.intp, out, places, types.intp), build

    return choose


def _puts(count: int) -> Any:
    """Return what writes so many squares of 2 x 2, zero but for a value each, at the place that is written down."""

    @intrinsic
    def put(typing: Any, x: Any, places: Any, at: Any, out: Any, to: Any, jump: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            element, byte = context.get_value_type(signature.args[0].dtype), ir.IntType(8)
            align, together = element.get_abi_alignment(context.target_data), _side_by_side(count)[2]
            place = _place(context, builder, signature.args[0], args[0], args[2])
            value = builder.load(_lanes(builder, place, element, count), align=align)
            place = _place(context, builder, signature.args[1], args[1], args[2])
            number = builder.load(_lanes(builder, place, byte, count), align=1)
            zero, each = ir.Constant(value.type, [ir.Constant(element, 0.0)] * count), []
            for i in range(4):
                here = builder.icmp_unsigned("==", number, ir.Constant(number.type, [byte(i)] * count))
                each.append(builder.select(here, value, zero))
            for row, pair in ((args[4], each[:2]), (builder.add(args[4], args[5]), each[2:])):
                target = _place(context, builder, signature.args[3], args[3], row)
                both = builder.shuffle_vector(*pair, together)
                builder.store(both, _lanes(builder, target, element, 2 * count), align=align)
            return context.get_dummy_value()

        return types.void(x, places, types.intp, out, types.intp, types.intp), build

    return put


choose_eight, choose_four = _chooses(8), _chooses(4)
put_eight, put_four = _puts(8), _puts(4)


@njit(inline="always")
def whole(a, b, c, d, e, f):
    """Return constants as variables: a function is compiled again for each constant that it is given."""
    return np.intp(a), np.intp(b), np.intp(c), np.intp(d), np.intp(e), np.intp(f)


@njit(**FAST)
def take(w, at, array, place, size):
    """Copy `size` values from a place of an array to a place of the work space."""
    for j in range(size):
        store(w, at + j, load(array, place + j))


@njit(**FAST)
def take_rows(w, at, width, array, place, apart, rows, size):
    """Copy rows that lie `apart` in an array to rows that lie `width` apart in the work space."""
    for i in range(rows):
        for j in range(size):
            store(w, at + i * width + j, load(array, place + i * apart + j))


@njit(**FAST)
def clear(w, at, size):
    """Set values to zero."""
    for j in range(size):
        store(w, at + j, 0)


@njit(**FAST)
def add_sums(sums, weights, values, sizes, at, index, first, end):
    """Add a step's events to weighted sums of the inputs, `[R, B, K]`.

    `sizes` are R and the distances between rows of `weights`, `[R, T]`, and of `sums`; `at` is the step and the place.
    """
    for i in range(sizes[0]):
        weight, to = load(weights, i * sizes[1] + at[0]), i * sizes[2] + at[1]
        for e in range(first, end):
            k = np.intp(load(index, e))
            store(sums, to + k, load(sums, to + k) + weight * load(values, e))
