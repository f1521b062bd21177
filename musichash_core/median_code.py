"""Machine code for running medians: a comparison network as vector instructions.

Written as plain numba, a network would be a loop over columns whose body has some 700 statements:
LLVM gives up vectorising that, and compiling it takes a minute. Written out as instructions on
vectors it takes a fifth of a second, and all values stay in registers.

Public: `VECTOR_BYTES`, `network_instructions`.
"""

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from musichash_core.median_network import MedianNetwork

LlvmValue = Any
"""An operand or a builder of llvmlite, which has no types."""

NumbaType = Any
"""A type, signature or compilation context of numba, which has none either."""

VECTOR_BYTES = 64
"""Columns done at once; a processor with shorter registers does them in two or four parts."""


def network_instructions(network: MedianNetwork) -> Callable[..., None]:
    """Make a function for kernels that writes one run of medians of one vector of columns.

    Returns
    -------
    callable
        Takes ``(source, rows, out, first, column)``: matrices as in
        `musichash_core.medians.median_rows`, the first row of `out` and the first column. The run
        covers ``network.n_outputs`` rows and ``VECTOR_BYTES // itemsize`` columns; nothing checks
        that they exist.
    """

    def run_network(
        typing_context: NumbaType,
        source: NumbaType,
        rows: NumbaType,
        out: NumbaType,
        first: NumbaType,
        column: NumbaType,
    ) -> tuple[NumbaType, Callable[..., LlvmValue]]:
        del typing_context, first, column
        return types.void(source, rows, out, types.intp, types.intp), emit

    def emit(
        context: NumbaType, builder: LlvmValue, signature: NumbaType, args: LlvmValue
    ) -> LlvmValue:
        _NetworkWriter(context, builder, signature, args).write(network)
        return context.get_dummy_value()

    return cast(Callable[..., None], intrinsic(run_network))


class _NetworkWriter:
    """Appends the instructions of one network run to a function that is being compiled."""

    def __init__(
        self, context: NumbaType, builder: LlvmValue, signature: NumbaType, args: LlvmValue
    ) -> None:
        matrices = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[:3], args[:3], strict=True)
        ]
        self._source, self._rows, self._out = matrices
        self._first, self._column = args[3:]
        self._builder = builder
        element = signature.args[0].dtype
        self._element_bytes = element.bitwidth // 8
        n_lanes = VECTOR_BYTES // self._element_bytes
        self._vector = ir.VectorType(context.get_data_type(element), n_lanes)
        self._values: dict[int, LlvmValue] = {}

    def write(self, network: MedianNetwork) -> None:
        builder = self._builder
        for step in network.exchanges:
            x, y = self._value(step.first), self._value(step.second)
            is_less = builder.fcmp_ordered("<", x, y)
            if step.low >= 0:
                self._values[step.low] = builder.select(is_less, x, y)
            if step.high >= 0:
                self._values[step.high] = builder.select(is_less, y, x)
        for i, name in enumerate(network.outputs):
            place = self._place(self._out, self._position(i))
            builder.store(self._value(name), place, align=self._element_bytes)

    def _value(self, name: int) -> LlvmValue:
        """Give the vector of this name; inputs are loaded when they are first needed."""
        if name not in self._values:
            entry = self._builder.gep(self._rows.data, [self._position(name)])
            place = self._place(self._source, self._builder.load(entry))
            self._values[name] = self._builder.load(place, align=self._element_bytes)
        return self._values[name]

    def _position(self, offset: int) -> LlvmValue:
        return self._builder.add(self._first, ir.Constant(self._first.type, offset))

    def _place(self, matrix: LlvmValue, row: LlvmValue) -> LlvmValue:
        """Point to the vector at this row and the run's columns."""
        n_columns = self._builder.extract_value(matrix.shape, 1)
        offset = self._builder.add(self._builder.mul(row, n_columns), self._column)
        pointer = self._builder.gep(matrix.data, [offset])
        return self._builder.bitcast(pointer, self._vector.as_pointer())
