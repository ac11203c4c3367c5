"""The inner loops of the projector: rows of LANES numbers, held in vector registers.

numba turns plain loops over such rows into code that must expect its arrays to
overlap, and writes each sum back to memory after each voxel. So these few loops are
written here in the compiler's own terms; nothing else is. They walk through the
patches of one tile (`patches`), and see flat arrays that begin on a line of the cache.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["LANES", "collect", "prefetch", "renew", "spread"]

LANES: Final = 64
"""Numbers in a row: four registers of 512 bits, or eight of 256."""

_WIDTH: Final = 16
_PARTS: Final = LANES // _WIDTH
_VECTOR: Final = ir.VectorType(ir.FloatType(), _WIDTH)
_INDEX: Final = ir.IntType(64)
_LINE: Final = 64
_AHEAD: Final = 2
"""Lines of the next tile that are asked for with each patch: about 230 patches cover
the 256 lines of a tile."""


@intrinsic
def spread(  # type: ignore[no-untyped-def]
    typing_context, out, tile, rows, others, sizes, voxels, shares, second, ahead,
    patch, end, entry,
):  # fmt: skip
    """Add the rows of a tile's voxels, weighted, to the rows of two tilts at a time.

    out: of all tilts, flat; tile: of its voxels, flat
    rows .. second: as in `Patches`; patch, end, entry: which of them are the tile's
    ahead: flat rows that will be needed next, and are asked for meanwhile

    For each of the two tilts, two sums stay in registers while its row stays: of what
    falls on this row and the next, and of the next's part. Their difference is the
    row's, and the second begins the next row.
    """
    signature, arrays = _signature(
        (out, tile, rows, others, sizes, voxels, shares, second, ahead)
    )

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = _data(context, builder, signature, args)
        out, tile, sizes, voxels = data[0], data[1], data[4], data[5]
        sides = [
            _side(builder, table, weights, _row(builder, table, args[arrays]))
            for table, weights in zip(data[2:4], data[6:8], strict=True)
        ]

        def close(before: Any, both: Any, right: Any) -> list[Any]:
            """Add to the row that ends; return what belongs to the next."""
            rest = [builder.load(number) for number in right]
            pairs = zip(both, rest, strict=True)
            own = [builder.fsub(builder.load(sums), part) for sums, part in pairs]
            _add(builder, out, before, own)
            return rest

        with _patches(builder, args[arrays:]) as (patch, entry):
            number = builder.sub(patch, args[arrays])
            first = builder.mul(number, ir.Constant(_INDEX, _AHEAD * _WIDTH))
            for line in range(_AHEAD):
                _ask_for(builder, data[8], first, line)
            for table, _, last, both, right in sides:
                row, before = _row(builder, table, patch), builder.load(last)
                with builder.if_then(builder.icmp_signed("!=", row, before)):
                    rest = close(before, both, right)
                    _put(builder, both, rest)
                    _put(builder, right, _zeros())
                    builder.store(row, last)
                    follows = _next(builder, before)
                    is_apart = builder.icmp_signed("!=", row, follows)
                    with builder.if_then(is_apart, likely=False):
                        _add(builder, out, follows, rest)
                        _put(builder, both, _zeros())
            with _voxels(builder, sizes, patch, entry, voxels) as (index, place):
                numbers = _load(builder, tile, place)
                for _, weights, _, both, right in sides:
                    share = _same(builder, weights, index)
                    for number, one, two in zip(numbers, both, right, strict=True):
                        builder.store(builder.fadd(builder.load(one), number), one)
                        part = _fma(builder, share, number, builder.load(two))
                        builder.store(part, two)
        for _, _, last, both, right in sides:
            before = builder.load(last)
            rest = close(before, both, right)
            _add(builder, out, _next(builder, before), rest)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def collect(  # type: ignore[no-untyped-def]
    typing_context, tile, out, rows, others, sizes, voxels, shares, second,
    patch, end, entry,
):  # fmt: skip
    """Add the weighted rows of all tilts to those of a tile's voxels: the adjoint.

    Arguments as those of `spread`; ``out`` is read. Two rows of a tilt, the first and
    how far the second is from it, stay in registers while they stay the same.
    """
    signature, arrays = _signature(
        (tile, out, rows, others, sizes, voxels, shares, second)
    )

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = _data(context, builder, signature, args)
        tile, out, sizes, voxels = data[0], data[1], data[4], data[5]
        nowhere = ir.Constant(_INDEX, -1)
        sides = [
            _side(builder, table, weights, nowhere)
            for table, weights in zip(data[2:4], data[6:], strict=True)
        ]
        with _patches(builder, args[arrays:]) as (patch, entry):
            for table, _, last, low, rise in sides:
                row = _row(builder, table, patch)
                is_new = builder.icmp_signed("!=", row, builder.load(last))
                with builder.if_then(is_new):
                    one = _load(builder, out, row)
                    two = _load(builder, out, _next(builder, row))
                    pairs = zip(one, two, strict=True)
                    _put(builder, low, one)
                    _put(builder, rise, [builder.fsub(b, a) for a, b in pairs])
                    builder.store(row, last)
            level = [
                builder.fadd(builder.load(one), builder.load(two))
                for one, two in zip(sides[0][3], sides[1][3], strict=True)
            ]
            with _voxels(builder, sizes, patch, entry, voxels) as (index, place):
                numbers = level
                for _, weights, _, _, rise in sides:
                    share = _same(builder, weights, index)
                    numbers = [
                        _fma(builder, share, builder.load(slope), number)
                        for slope, number in zip(rise, numbers, strict=True)
                    ]
                _add(builder, tile, place, numbers)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def renew(  # type: ignore[no-untyped-def]
    typing_context, tile, out, squares, rows, sizes, voxels, shares, patch, end, entry
):
    """Multiply the rows of a tile's voxels by the weighted rows of one tilt.

    squares: (2 * LANES,), to which those of what changed and of what came are added
    Further arguments as those of `collect`. A voxel without an entry stays as it is.
    """
    signature, arrays = _signature((tile, out, squares, rows, sizes, voxels, shares))

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = _data(context, builder, signature, args)
        tile, out, squares, rows, sizes, voxels, shares = data
        begin = ir.Constant(_INDEX, 0)
        moved, there = _registers(builder), _registers(builder)
        with _patches(builder, args[arrays:]) as (patch, entry):
            row = _row(builder, rows, patch)
            low = _load(builder, out, row)
            high = _load(builder, out, _next(builder, row))
            rise = [builder.fsub(b, a) for a, b in zip(low, high, strict=True)]
            with _voxels(builder, sizes, patch, entry, voxels) as (index, place):
                share = _same(builder, shares, index)
                for part, old in enumerate(_load(builder, tile, place)):
                    factor = _fma(builder, share, rise[part], low[part])
                    new = builder.fmul(old, factor)
                    off = builder.fsub(new, old)
                    for sums, value in ((moved, off), (there, new)):
                        total = _fma(builder, value, value, builder.load(sums[part]))
                        builder.store(total, sums[part])
                    pointer = _pointer(builder, tile, place, part)
                    builder.store(new, pointer, align=_LINE)
        for sums, place in ((moved, begin), (there, _next(builder, begin))):
            _add(builder, squares, place, [builder.load(number) for number in sums])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def prefetch(typing_context, rows):  # type: ignore[no-untyped-def]
    """Ask for flat rows, to have them in the second cache when they are needed."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, args[0])
        first, line = ir.Constant(_INDEX, 0), ir.Constant(_INDEX, _WIDTH)
        with cgutils.for_range_slice(builder, first, array.nitems, line) as (index, _):
            _ask_for(builder, array.data, index, 0)
        return context.get_dummy_value()

    return types.void(rows), generate


def _signature(arrays: tuple[Any, ...]) -> tuple[Any, int]:
    """Return that of these arrays and three numbers, and how many arrays there are."""
    return types.void(*arrays, *3 * (types.intp,)), len(arrays)


def _data(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """Return where the arrays among the arguments begin, in their order."""
    return [
        context.make_array(kind)(context, builder, value).data
        for kind, value in zip(signature.args, args, strict=True)
        if isinstance(kind, types.Array)
    ]


def _side(builder: Any, table: Any, weights: Any, row: Any) -> tuple[Any, ...]:
    """Return what belongs to one of two tilts: tables, the row it is on, two rows."""
    place = cgutils.alloca_once_value(builder, row)
    return table, weights, place, _registers(builder), _registers(builder)


@contextmanager
def _patches(builder: Any, numbers: Any) -> Iterator[tuple[Any, Any]]:
    """Loop over the patches first .. end; give each, and where its entry is kept."""
    first, end, entry = numbers
    here = cgutils.alloca_once_value(builder, entry)
    one = ir.Constant(_INDEX, 1)
    with cgutils.for_range_slice(builder, first, end, one) as (patch, _):
        yield patch, here


@contextmanager
def _voxels(
    builder: Any, sizes: Any, patch: Any, entry: Any, voxels: Any
) -> Iterator[tuple[Any, Any]]:
    """Loop over a patch's voxels; give the entry of each, and where its row begins."""
    size = builder.zext(builder.load(builder.gep(sizes, [patch])), _INDEX)
    first = builder.load(entry)
    with cgutils.for_range(builder, size) as loop:
        index = builder.add(first, loop.index)
        yield index, _row(builder, voxels, index)
    builder.store(builder.add(first, size), entry)


def _row(builder: Any, table: Any, index: Any) -> Any:
    """Return where a row begins whose number is in a table, of whatever integers."""
    row = builder.zext(builder.load(builder.gep(table, [index])), _INDEX)
    return builder.mul(row, ir.Constant(_INDEX, LANES))


def _next(builder: Any, row: Any) -> Any:
    return builder.add(row, ir.Constant(_INDEX, LANES))


def _zeros() -> list[Any]:
    return _PARTS * [ir.Constant(_VECTOR, _WIDTH * [0.0])]


def _registers(builder: Any) -> list[Any]:
    """Return what the compiler keeps in registers: a row of zeros."""
    row = [cgutils.alloca_once(builder, _VECTOR) for _ in range(_PARTS)]
    _put(builder, row, _zeros())
    return row


def _put(builder: Any, registers: Any, numbers: Any) -> None:
    for register, number in zip(registers, numbers, strict=True):
        builder.store(number, register)


def _pointer(builder: Any, array: Any, row: Any, part: int) -> Any:
    index = builder.add(row, ir.Constant(_INDEX, part * _WIDTH))
    return builder.bitcast(builder.gep(array, [index]), _VECTOR.as_pointer())


def _load(builder: Any, array: Any, row: Any) -> list[Any]:
    return [
        builder.load(_pointer(builder, array, row, part), align=_LINE)
        for part in range(_PARTS)
    ]


def _add(builder: Any, array: Any, row: Any, numbers: Any) -> None:
    """Add to a row in memory."""
    for part, number in enumerate(numbers):
        pointer = _pointer(builder, array, row, part)
        total = builder.fadd(builder.load(pointer, align=_LINE), number)
        builder.store(total, pointer, align=_LINE)


def _ask_for(builder: Any, array: Any, row: Any, line: int) -> None:
    """Fetch a line of a row from memory, for reading, into the second cache."""
    number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    name = "llvm.prefetch.p0"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    pointer = builder.bitcast(_pointer(builder, array, row, line), byte)
    how = [ir.Constant(number, value) for value in (0, 2, 1)]
    builder.call(function, [pointer, *how])


def _same(builder: Any, array: Any, index: Any) -> Any:
    """Return a vector whose numbers are all array[index]."""
    number = builder.load(builder.gep(array, [index]))
    empty = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), _WIDTH), _WIDTH * [0])
    return builder.shuffle_vector(first, empty, mask)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    name = f"llvm.fma.v{_WIDTH}f32"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [a, b, c])
