"""What compiled code does to vectors by the place of their first element: runs of channels, transposed squares.

Arrays are contiguous, as in `raw.py`; a vector lies anywhere in one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tracetorch.backends.numba.inner import inner
from tracetorch.backends.numba.raw import PICKS, place_of

_INT = ir.IntType(32)


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
            target = _lanes(builder, place_of(context, builder, signature.args[0], *args[:2]), element, count)
            source = _lanes(builder, place_of(context, builder, signature.args[2], *args[2:4]), element, count)
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
                targets.append(_lanes(builder, place_of(context, builder, kinds[0], args[0], target), element, lanes))
                sums.append(cgutils.alloca_once(builder, vector))
                builder.store(builder.load(targets[i], align=align), sums[i])
            with cgutils.for_range_slice(builder, args[6], args[7], ir.Constant(integer, 1)) as (event, _):
                place = builder.load(place_of(context, builder, kinds[4], args[4], event))
                row = builder.add(args[3], builder.sext(place, integer))
                value = builder.load(place_of(context, builder, kinds[5], args[5], event))
                one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _INT(0))
                all_of = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_INT, lanes), [_INT(0)] * lanes))
                for i in range(count):
                    source = builder.add(row, ir.Constant(integer, i * lanes))
                    at = _lanes(builder, place_of(context, builder, kinds[2], args[2], source), element, lanes)
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


@inner
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


@inner
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
            place = place_of(context, builder, signature.args[0], args[0], builder.add(at, builder.mul(row, jump)))
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
                place = place_of(context, builder, signature.args[4], args[4], builder.add(to, row))
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
                place = place_of(context, builder, signature.args[0], args[0], row)
                both = builder.load(_lanes(builder, place, element, 2 * count), align=align)
                values += [builder.shuffle_vector(both, both, mask) for mask in _side_by_side(count)[:2]]
            best, kind = values[0], ir.VectorType(byte, count)
            number = ir.Constant(kind, [byte(0)] * count)
            for i, value in enumerate(values[1:], start=1):
                greater = builder.fcmp_ordered(">", value, best)
                greater = builder.or_(greater, builder.fcmp_unordered("uno", value, value))
                best = builder.select(greater, value, best)
                number = builder.select(greater, ir.Constant(kind, [byte(i)] * count), number)
            target = place_of(context, builder, signature.args[3], args[3], args[5])
            builder.store(best, _lanes(builder, target, element, count), align=align)
            target = place_of(context, builder, signature.args[4], args[4], args[5])
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
            place = place_of(context, builder, signature.args[0], args[0], args[2])
            value = builder.load(_lanes(builder, place, element, count), align=align)
            place = place_of(context, builder, signature.args[1], args[1], args[2])
            number = builder.load(_lanes(builder, place, byte, count), align=1)
            zero, each = ir.Constant(value.type, [ir.Constant(element, 0.0)] * count), []
            for i in range(4):
                here = builder.icmp_unsigned("==", number, ir.Constant(number.type, [byte(i)] * count))
                each.append(builder.select(here, value, zero))
            for row, pair in ((args[4], each[:2]), (builder.add(args[4], args[5]), each[2:])):
                target = place_of(context, builder, signature.args[3], args[3], row)
                both = builder.shuffle_vector(*pair, together)
                builder.store(both, _lanes(builder, target, element, 2 * count), align=align)
            return context.get_dummy_value()

        return types.void(x, places, types.intp, out, types.intp, types.intp), build

    return put


choose_eight, choose_four = _chooses(8), _chooses(4)
put_eight, put_four = _puts(8), _puts(4)
