"""Sixteen channels of a spectrum at once, and memory asked for ahead of its use.

numba turns a loop over sixteen numbers into sixteen steps, and can't ask for memory
ahead; so these two are written in the compiler's own terms.
"""

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["CHANNELS", "fetch", "masked_sum"]

CHANNELS: Final = 16
"""Summed at once: a register of 512 bits, or two of 256."""

_WORD: Final = ir.IntType(32)
_ROW: Final = ir.VectorType(_WORD, CHANNELS)
_BYTES: Final = ir.IntType(8).as_pointer()


@intrinsic
def masked_sum(typing_context, counts, first, masks, mask):  # type: ignore[no-untyped-def]
    """Return the sum of counts[first : + CHANNELS], each & masks[mask : + CHANNELS].

    Flat arrays, counts of up to 32 bits, masks of uint32.
    """
    signature = types.uint32(counts, types.intp, masks, types.intp)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kind = signature.args[0].dtype
        narrow = ir.VectorType(ir.IntType(kind.bitwidth), CHANNELS)
        row = _load(context, builder, signature, args, 0, narrow)
        if kind.bitwidth < _WORD.width:
            row = (builder.sext if kind.signed else builder.zext)(row, _ROW)
        mask = _load(context, builder, signature, args, 2, _ROW)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(_WORD, [_ROW]),
            f"llvm.vector.reduce.add.v{CHANNELS}i32",
        )
        return builder.call(function, [builder.and_(row, mask)])

    return signature, generate


@intrinsic
def fetch(typing_context, counts, place):  # type: ignore[no-untyped-def]
    """Ask for the line of memory of counts[place], which may lie beyond the end."""
    signature = types.void(counts, types.intp)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [_BYTES, _WORD, _WORD, _WORD]),
            "llvm.prefetch.p0",
        )
        # To be read, into all caches, as data.
        how = [ir.Constant(_WORD, number) for number in (0, 3, 1)]
        pointer = _pointer(context, builder, signature, args, 0, _BYTES)
        builder.call(function, [pointer, *how])
        return context.get_dummy_value()

    return signature, generate


def _pointer(
    context: Any, builder: Any, signature: Any, args: Any, array: int, kind: Any
) -> Any:
    """Return a pointer to a number of an array; its index is the argument after it."""
    data = context.make_array(signature.args[array])(context, builder, args[array]).data
    return builder.bitcast(builder.gep(data, [args[array + 1]]), kind)


def _load(
    context: Any, builder: Any, signature: Any, args: Any, array: int, kind: Any
) -> Any:
    """Return a vector of numbers of an array, from the index that comes after it."""
    pointer = _pointer(context, builder, signature, args, array, kind.as_pointer())
    return builder.load(pointer, align=kind.element.width // 8)
