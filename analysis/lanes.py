"""A row of LANES numbers of one voxel, held in vector registers over all its tilts.

numba turns plain loops over such rows into code that must expect its arrays to
overlap, and writes each sum back to memory after each tilt. So the inner loops of the
projector are written here in the compiler's own terms; nothing else is.
"""

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["LANES", "collect", "renew", "spread"]

LANES: Final = 64
"""Numbers in a row: four registers of 512 bits, or eight of 256."""
_WIDTH: Final = 16
_PARTS: Final = LANES // _WIDTH
_FLOAT: Final = ir.FloatType()
_VECTOR: Final = ir.VectorType(_FLOAT, _WIDTH)
_ALIGN: Final = 4
_INDEX: Final = ir.IntType(64)


@intrinsic
def spread(typing_context, out, where, left, right, volume, first, stride, voxels):  # type: ignore[no-untyped-def]
    """Add rows of the volume, weighted, to two rows of one tilt each.

    out[where[j] : + LANES] += left[j] * row j, and right[j] * row j to the next LANES
    numbers; row j is volume[first + j * stride : + LANES], all arrays flat. Two rows of
    out are held in registers while the voxels go to them, or move on by one.
    """
    number = types.intp
    signature = types.void(out, where, left, right, volume, number, number, number)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        out, where, left, right, volume = _data(context, builder, signature, args)
        here = cgutils.alloca_once_value(builder, builder.load(where))
        low, high = _registers(builder), _registers(builder)

        def fetch(registers: Any, begin: Any) -> None:
            for register, number in zip(
                registers, _load(builder, out, begin), strict=True
            ):
                builder.store(number, register)

        def put(registers: Any, begin: Any) -> None:
            for part, register in enumerate(registers):
                pointer = _pointer(builder, out, begin, part)
                builder.store(builder.load(register), pointer, align=_ALIGN)

        fetch(low, builder.load(here))
        fetch(high, _next(builder, builder.load(here)))
        with cgutils.for_range(builder, args[7]) as loop:
            place, before = (
                builder.load(builder.gep(where, [loop.index])),
                builder.load(here),
            )
            with builder.if_then(builder.icmp_signed("!=", place, before)):
                put(low, before)
                is_next = builder.icmp_signed("==", place, _next(builder, before))
                with builder.if_else(is_next) as (on_by_one, elsewhere):
                    with on_by_one:
                        for one, other in zip(low, high, strict=True):
                            builder.store(builder.load(other), one)
                    with elsewhere:
                        put(high, _next(builder, before))
                        fetch(low, place)
                fetch(high, _next(builder, place))
                builder.store(place, here)
            begin = builder.add(args[5], builder.mul(loop.index, args[6]))
            row = _load(builder, volume, begin)
            for weights, registers in ((left, low), (right, high)):
                weight = _same(
                    builder, builder.load(builder.gep(weights, [loop.index]))
                )
                for register, number in zip(registers, row, strict=True):
                    total = _fma(builder, weight, number, builder.load(register))
                    builder.store(total, register)
        put(low, builder.load(here))
        put(high, _next(builder, builder.load(here)))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def collect(typing_context, out, first, where, left, right, rows, tilts):  # type: ignore[no-untyped-def]
    """Write the weighted sum of two neighbouring rows of each tilt.

    out[first : first + LANES] = sum over the tilts a of left[a] * rows[where[a] : +
    LANES] and right[a] * the next LANES numbers, all arrays flat.
    """
    signature = types.void(out, types.intp, where, left, right, rows, types.intp)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        out, where, left, right, rows = _data(context, builder, signature, args)
        sums = _registers(builder)
        with cgutils.for_range(builder, args[6]) as loop:
            place = builder.load(builder.gep(where, [loop.index]))
            for weights, begin in (
                (left, place),
                (right, _next(builder, place)),
            ):
                weight = _same(
                    builder, builder.load(builder.gep(weights, [loop.index]))
                )
                for total, number in zip(
                    sums, _load(builder, rows, begin), strict=True
                ):
                    builder.store(
                        _fma(builder, weight, number, builder.load(total)), total
                    )
        for part, total in enumerate(sums):
            pointer = _pointer(builder, out, args[1], part)
            builder.store(builder.load(total), pointer, align=_ALIGN)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def renew(typing_context, out, where, left, right, ratio, first, old, rows, report):  # type: ignore[no-untyped-def]
    """Multiply rows by a weighted sum of two neighbouring rows, past the caches.

    out[where[j] : + LANES] = row j of old * (left[j] * ratio[first : + LANES] +
    right[j] * the next LANES numbers), all arrays flat, for the first ``rows`` of old.
    Adds the squares of what changed and of what came to report[: 2 * LANES]. ``out``
    must lie on a multiple of 64 bytes: it is not read, nor kept in a cache.
    """
    number = types.intp
    signature = types.void(out, where, left, right, ratio, number, old, number, report)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        out, where, left, right, ratio, old, report = _data(
            context, builder, signature, args
        )
        low = _load(builder, ratio, args[5])
        high = _load(builder, ratio, _next(builder, args[5]))
        start = ir.Constant(_INDEX, 0)
        moved, there = _registers(builder), _registers(builder)
        bypass = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        with cgutils.for_range(builder, args[7]) as loop:
            place = builder.load(builder.gep(where, [loop.index]))
            one, two = (
                _same(builder, builder.load(builder.gep(weights, [loop.index])))
                for weights in (left, right)
            )
            begin = builder.mul(loop.index, ir.Constant(_INDEX, LANES))
            for part, was in enumerate(_load(builder, old, begin)):
                factor = _fma(builder, two, high[part], builder.fmul(one, low[part]))
                new = builder.fmul(was, factor)
                off = builder.fsub(new, was)
                for sums, value in ((moved, off), (there, new)):
                    total = _fma(builder, value, value, builder.load(sums[part]))
                    builder.store(total, sums[part])
                store = builder.store(
                    new, _pointer(builder, out, place, part), align=4 * _WIDTH
                )
                store.set_metadata("nontemporal", bypass)
        for sums, begin in ((moved, start), (there, _next(builder, start))):
            before = _load(builder, report, begin)
            for part, total in enumerate(sums):
                builder.store(
                    builder.fadd(before[part], builder.load(total)),
                    _pointer(builder, report, begin, part),
                    align=_ALIGN,
                )
        return context.get_dummy_value()

    return signature, generate


def _data(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """Return where the arrays among the arguments begin, in their order."""
    return [
        context.make_array(kind)(context, builder, value).data
        for kind, value in zip(signature.args, args, strict=True)
        if isinstance(kind, types.Array)
    ]


def _registers(builder: Any) -> list[Any]:
    """Return what the compiler keeps in registers: a row of zeros."""
    zero = ir.Constant(_VECTOR, [0.0] * _WIDTH)
    row = [cgutils.alloca_once(builder, _VECTOR) for _ in range(_PARTS)]
    for register in row:
        builder.store(zero, register)
    return row


def _next(builder: Any, place: Any) -> Any:
    return builder.add(place, ir.Constant(_INDEX, LANES))


def _pointer(builder: Any, array: Any, first: Any, part: int) -> Any:
    index = builder.add(first, ir.Constant(_INDEX, part * _WIDTH))
    return builder.bitcast(builder.gep(array, [index]), _VECTOR.as_pointer())


def _load(builder: Any, array: Any, first: Any) -> list[Any]:
    return [
        builder.load(_pointer(builder, array, first, part), align=_ALIGN)
        for part in range(_PARTS)
    ]


def _same(builder: Any, number: Any) -> Any:
    """Return a vector whose numbers are all this one."""
    empty = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), _WIDTH), [0] * _WIDTH)
    return builder.shuffle_vector(first, empty, mask)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    name = f"llvm.fma.v{_WIDTH}f32"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [a, b, c])
