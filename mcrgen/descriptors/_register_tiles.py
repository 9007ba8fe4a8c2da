"""Matrix products of one register tile, for numba kernels, written as vector code: numba vectorises innermost loops only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_WIDE = binding.get_host_cpu_features().get("avx512f", False)
VECTOR_BYTES = 64 if _WIDE else 32
TILE_ROWS = 8 if _WIDE else 4
"""Such that the sums of complex numbers take half of the 32 or 16 vector registers."""


def _real_tile(
    typing_context: Any, lanes: Any, m: Any, m_at: Any, m_row: Any, m_step: Any, b: Any, b_at: Any, b_step: Any,
    out: Any, out_at: Any, out_row: Any, count: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """out(r, l) = sum over t < ``count`` of m(r, t) b(t, l), r < ``TILE_ROWS``, l < length of the tuple ``lanes``.

    Of the flat arrays, m(r, t) is element ``m_at`` + r ``m_row`` + t ``m_step`` of ``m``, b(t, l) element ``b_at`` +
    t ``b_step`` + l of ``b`` and out(r, l) element ``out_at`` + r ``out_row`` + l of ``out``. No bounds are checked.
    """
    i = types.intp
    return types.void(lanes, m, i, i, i, b, i, i, out, i, i, i), _generator(1)


def _complex_tile(
    typing_context: Any, lanes: Any, m_re: Any, m_im: Any, m_at: Any, m_row: Any, m_step: Any, b_re: Any, b_im: Any, b_at: Any,
    b_step: Any, out_re: Any, out_im: Any, out_at: Any, out_row: Any, count: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """:func:`_real_tile` of complex numbers, real and imaginary parts in arrays of their own."""
    i = types.intp
    return types.void(lanes, m_re, m_im, i, i, i, b_re, b_im, i, i, out_re, out_im, i, i, i), _generator(2)


real_tile: Any = intrinsic(_real_tile)  # called without the context
complex_tile: Any = intrinsic(_complex_tile)


def _generator(parts: int) -> Callable[..., Any]:
    """What writes the code of a call: all sums stay in registers while t runs."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        arguments = iter(zip(signature.args, args, strict=True))
        lanes = next(arguments)[0].count
        element = context.get_value_type(signature.args[1].dtype)
        vector = ir.VectorType(element, lanes)

        def pointers() -> list[Any]:
            arrays = [next(arguments) for _ in range(parts)]
            start = next(arguments)[1]
            return [builder.gep(context.make_array(kind)(context, builder, a).data, [start]) for kind, a in arrays]

        left, row, step = pointers(), next(arguments)[1], next(arguments)[1]
        right, right_step = pointers(), next(arguments)[1]
        out, out_row, count = pointers(), next(arguments)[1], next(arguments)[1]
        allocate: Any = cgutils.alloca_once
        code = _Vectors(builder, vector, context.get_abi_alignment(element))
        sums = [[allocate(builder, vector) for _ in range(parts)] for _ in range(TILE_ROWS)]
        for total in (s for pair in sums for s in pair):
            builder.store(code.zero, total)
        with cgutils.for_range(builder, count) as loop:
            b = [code.load(code.at(p, right_step, loop.index)) for p in right]
            first = [code.at(p, step, loop.index) for p in left]
            for r in range(TILE_ROWS):
                m = [code.splat(code.at(p, row, r)) for p in first]
                code.accumulate(sums[r], m, b)
        for r in range(TILE_ROWS):
            for pointer, total in zip(out, sums[r], strict=True):
                code.store(builder.load(total), code.at(pointer, out_row, r))
        return context.get_dummy_value()

    return generate


class _Vectors:
    """Vector instructions, unaligned in memory."""

    def __init__(self, builder: Any, vector: Any, alignment: int) -> None:
        self.builder, self.vector, self.alignment = builder, vector, alignment
        self.zero = ir.Constant(vector, [ir.Constant(vector.element, 0.0)] * vector.count)
        name = f"llvm.fma.v{vector.count}{vector.element.intrinsic_name}"
        declare: Any = cgutils.get_or_insert_function
        self.fma = declare(builder.module, ir.FunctionType(vector, [vector] * 3), name)

    def at(self, pointer: Any, stride: Any, index: Any) -> Any:
        index = ir.Constant(stride.type, index) if isinstance(index, int) else index
        return self.builder.gep(pointer, [self.builder.mul(stride, index)])

    def load(self, pointer: Any) -> Any:
        return self.builder.load(self.builder.bitcast(pointer, self.vector.as_pointer()), align=self.alignment)

    def store(self, value: Any, pointer: Any) -> None:
        self.builder.store(value, self.builder.bitcast(pointer, self.vector.as_pointer()), align=self.alignment)

    def splat(self, pointer: Any) -> Any:
        index = ir.IntType(32)
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, self.builder.load(pointer), index(0))
        everywhere = ir.Constant(ir.VectorType(index, self.vector.count), [0] * self.vector.count)
        return self.builder.shuffle_vector(one, undefined, everywhere)

    def accumulate(self, sums: list[Any], m: list[Any], b: list[Any]) -> None:
        terms = [[(m[0], b[0])]]
        if len(sums) == 2:
            minus = self.builder.fneg(m[1])
            terms = [[(m[0], b[0]), (minus, b[1])], [(m[0], b[1]), (m[1], b[0])]]
        for total, products in zip(sums, terms, strict=True):
            value = self.builder.load(total)
            for left, right in products:
                value = self.builder.call(self.fma, [left, right, value])
            self.builder.store(value, total)
