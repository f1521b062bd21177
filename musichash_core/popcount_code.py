"""Machine code for the scan over codes: the least distance of 64 codes, without a branch.

Numba would compile the plain loop to one code at a time. Written as instructions on vectors, eight
codes are compared at once, whatever their length.

Public: `least_distance`, `popcount`, `CHUNK`.
"""

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

CHUNK = 64
"""Codes whose least distance is computed together."""

LANES = 8
"""Codes in one vector; a processor with shorter registers does them in two or four parts."""

WORD_BYTES = 8

NumbaObject = Any
"""A type, signature, builder or value of numba and llvmlite, which have no types."""


def _popcount(typing_context: NumbaObject, word: NumbaObject) -> Any:  # noqa: ANN401
    del typing_context, word

    def emit(
        context: NumbaObject, builder: NumbaObject, signature: NumbaObject, args: NumbaObject
    ) -> NumbaObject:
        del context, signature
        count = builder.module.declare_intrinsic("llvm.ctpop", [ir.IntType(64)])
        return builder.call(count, args)

    return types.int64(types.uint64), emit


popcount = cast(Callable[[Any], int], intrinsic(_popcount))
"""For kernels: count the ones of a word."""


def least_distance(n_words: int) -> Callable[..., int]:
    """Make a function for kernels: the least distance of a query from `CHUNK` codes.

    It takes ``(words, first, queries, query)``: matrices, the first row and the query's row;
    nothing checks that they exist.
    """
    n_lanes = LANES * n_words
    word = ir.IntType(64)
    vector, wide = ir.VectorType(word, LANES), ir.VectorType(word, n_lanes)

    def least(
        typing_context: NumbaObject,
        words: NumbaObject,
        first: NumbaObject,
        queries: NumbaObject,
        query: NumbaObject,
    ) -> Any:  # noqa: ANN401
        del typing_context, first, query
        return types.int64(words, types.intp, queries, types.intp), emit

    def emit(
        context: NumbaObject, builder: NumbaObject, signature: NumbaObject, args: NumbaObject
    ) -> NumbaObject:
        codes, asked = (
            context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 2)
        )
        starts = [builder.mul(args[i], ir.Constant(args[i].type, n_words)) for i in (1, 3)]
        query = _repeated(builder, builder.gep(asked, [starts[1]]), n_words)
        count = _declared(builder.module, f"llvm.ctpop.v{n_lanes}i64", wide, [wide])
        sums = []
        for step in range(CHUNK // LANES):
            offset = builder.add(starts[0], ir.Constant(starts[0].type, step * n_lanes))
            source = builder.bitcast(builder.gep(codes, [offset]), wide.as_pointer())
            loaded = builder.load(source, align=WORD_BYTES)
            counts = builder.call(count, [builder.xor(loaded, query)])
            sums.append(_of_codes(builder, counts, n_words))
        while len(sums) > 1:
            pairs = zip(sums[::2], sums[1::2], strict=True)
            sums = [builder.select(builder.icmp_unsigned("<", a, b), a, b) for a, b in pairs]
        reduce = _declared(builder.module, f"llvm.vector.reduce.umin.v{LANES}i64", word, [vector])
        return builder.call(reduce, sums)

    return cast(Callable[..., int], intrinsic(least))


def _repeated(builder: NumbaObject, source: NumbaObject, n_words: int) -> NumbaObject:
    """Load the words of a query, and repeat them for every code of a vector."""
    index = ir.IntType(32)
    vector: NumbaObject = ir.Constant(ir.VectorType(ir.IntType(64), n_words), ir.Undefined)
    for i in range(n_words):
        loaded = builder.load(builder.gep(source, [ir.Constant(ir.IntType(64), i)]))
        vector = builder.insert_element(vector, loaded, ir.Constant(index, i))
    places = ir.Constant(ir.VectorType(index, LANES * n_words), [*range(n_words)] * LANES)
    return builder.shuffle_vector(vector, vector, places)


def _of_codes(builder: NumbaObject, counts: NumbaObject, n_words: int) -> NumbaObject:
    """Add up the counts of the words of each code."""
    index = ir.VectorType(ir.IntType(32), LANES)
    parts = [
        builder.shuffle_vector(
            counts, counts, ir.Constant(index, [code * n_words + i for code in range(LANES)])
        )
        for i in range(n_words)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = builder.add(total, part)
    return total


def _declared(
    module: NumbaObject, name: str, result: NumbaObject, arguments: list[NumbaObject]
) -> NumbaObject:
    """Give an intrinsic of LLVM; a name can be declared once."""
    known = module.globals.get(name)
    return known or ir.Function(module, ir.FunctionType(result, arguments), name)
