"""Loops over vector registers, written out: the sums of compiled steps, and what they do to every number of a row.

A compiler that may reorder a sum orders it by what surrounds it: inlined or not, just compiled or read from a cache.
So none may here, and the lanes of a sum are written out: lane i adds up every 64th product from the i-th on (32nd in
double precision), then halves are added to halves.  What a sum gives depends on its numbers alone.

The other loops are here because they are short: numba would first check at run time that their arrays do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from monosweep.model.engines.cpu.jit import compiled

_REGISTER = 64
"""Bytes that the short loops work on at once."""
_SUM = 256
"""Bytes of a sum's lanes: four registers, so that no addition waits for the one before it."""
_AT_ONCE = 8192
"""Products that are added up in the type of the data; the sums of so many are added up in double precision."""
_WORD = ir.IntType(64)


@compiled
def dot(a, b):  # type: ignore[no-untyped-def]
    """Σ a_i b_i of two contiguous arrays of one size and type, in that type."""
    return _dot(a, a.ctypes.data, b.ctypes.data, a.size)


@compiled
def long_dot(a, b):  # type: ignore[no-untyped-def]
    """Σ a_i b_i of two contiguous arrays of any length, in double precision."""
    total = 0.0
    for start in range(0, a.size, _AT_ONCE):
        at = start * a.itemsize
        total += _dot(a, a.ctypes.data + at, b.ctypes.data + at, min(_AT_ONCE, a.size - start))
    return total


@dataclass(frozen=True)
class _Lanes:
    """Some numbers side by side, or a single one, at an index that a loop has reached."""

    builder: Any
    scalar: Any
    count: int
    index: Any

    @property
    def kind(self) -> Any:
        return self.scalar if self.count == 1 else ir.VectorType(self.scalar, self.count)

    def _place(self, base: Any) -> Any:
        at = self.builder.mul(self.index, ir.Constant(_WORD, _item(self.scalar)))
        return self.builder.inttoptr(self.builder.add(base, at), self.kind.as_pointer())

    def load(self, base: Any) -> Any:
        return self.builder.load(self._place(base), align=_item(self.scalar))

    def store(self, value: Any, base: Any) -> None:
        self.builder.store(value, self._place(base), align=_item(self.scalar))

    def all(self, value: Any) -> Any:
        """The same number in every lane."""
        if self.count == 1:
            return value
        lanes = ir.Constant(self.kind, ir.Undefined)
        for lane in range(self.count):
            lanes = self.builder.insert_element(lanes, value, ir.Constant(ir.IntType(32), lane))
        return lanes

    def zero(self) -> Any:
        return self.all(ir.Constant(self.scalar, 0.0))


def _item(scalar: Any) -> int:
    return 4 if scalar == ir.FloatType() else 8


def _scalar(dtype: Any) -> Any:
    return ir.FloatType() if dtype == types.float32 else ir.DoubleType()


def _loop(builder: Any, scalar: Any, count: int, size: Any, body: Callable[[_Lanes], None]) -> None:
    """`body` for `count` numbers at a time, then one by one."""
    whole = builder.and_(size, ir.Constant(_WORD, -count))
    for lanes, start, stop in ((count, ir.Constant(_WORD, 0), whole), (1, whole, size)):
        with cgutils.for_range_slice(builder, start, stop, ir.Constant(_WORD, lanes)) as (index, _):
            body(_Lanes(builder, scalar, lanes, index))


@intrinsic
def _dot(typingctx, like, a, b, size):  # type: ignore[no-untyped-def]
    """Σ of `size` products of the numbers at two addresses; `like` is an array of their type."""
    scalar = _scalar(like.dtype)
    lanes = _SUM // _item(scalar)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _, left, right, n = arguments
        sums = {
            count: cgutils.alloca_once_value(builder, _Lanes(builder, scalar, count, None).zero())
            for count in (lanes, 1)
        }

        def add(at: _Lanes) -> None:
            product = builder.fmul(at.load(left), at.load(right))
            builder.store(builder.fadd(builder.load(sums[at.count]), product), sums[at.count])

        _loop(builder, scalar, lanes, n, add)
        return builder.fadd(_folded(builder, builder.load(sums[lanes]), lanes), builder.load(sums[1]))

    return like.dtype(like, types.uintp, types.uintp, types.intp), generate


def _folded(builder: Any, sums: Any, lanes: int) -> Any:
    """The upper half of the lanes added to the lower, until one is left."""
    place = ir.IntType(32)
    while lanes > 1:
        lanes //= 2
        lower, upper = (
            ir.Constant(ir.VectorType(place, lanes), [ir.Constant(place, i) for i in range(start, start + lanes)])
            for start in (0, lanes)
        )
        sums = builder.fadd(builder.shuffle_vector(sums, sums, lower), builder.shuffle_vector(sums, sums, upper))
    return builder.extract_element(sums, ir.Constant(place, 0))


@intrinsic
def add_scaled(typingctx, like, factor, values, out, size):  # type: ignore[no-untyped-def]
    """Add `factor` times `size` numbers at one address to those at another; `like` is an array of their type."""
    scalar = _scalar(like.dtype)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _, scale, source, target, n = arguments

        def add(at: _Lanes) -> None:
            at.store(builder.fadd(at.load(target), builder.fmul(at.all(scale), at.load(source))), target)

        _loop(builder, scalar, 32 // _item(scalar), n, add)  # rows of eight are the shortest that are common
        return context.get_dummy_value()

    return types.void(like, like.dtype, types.uintp, types.uintp, types.intp), generate


@intrinsic
def relu_row(typingctx, like, e, bias, size):  # type: ignore[no-untyped-def]
    """max(e + bias, 0) in the place of e, `size` numbers at two addresses; NaN stays."""
    scalar = _scalar(like.dtype)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _, place, biases, n = arguments

        def answer(at: _Lanes) -> None:
            value = builder.fadd(at.load(place), at.load(biases))
            negative = builder.fcmp_ordered("<", value, at.zero())
            at.store(builder.select(negative, at.zero(), value), place)

        _loop(builder, scalar, _REGISTER // _item(scalar), n, answer)
        return context.get_dummy_value()

    return types.void(like, types.uintp, types.uintp, types.intp), generate


@intrinsic
def not_negative(typingctx, like, values, size):  # type: ignore[no-untyped-def]
    """max(value, 0) in the place of `size` numbers at an address; NaN stays."""
    scalar = _scalar(like.dtype)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _, place, n = arguments

        def clip(at: _Lanes) -> None:
            value = at.load(place)
            at.store(builder.select(builder.fcmp_ordered("<", value, at.zero()), at.zero(), value), place)

        _loop(builder, scalar, _REGISTER // _item(scalar), n, clip)
        return context.get_dummy_value()

    return types.void(like, types.uintp, types.intp), generate


@intrinsic
def relu_slope_row(typingctx, like, l1, dh, h, sums, size):  # type: ignore[no-untyped-def]
    """(dh + l1) where h > 0, else 0, in the place of dh and added to `sums`; `size` numbers at three addresses."""
    scalar = _scalar(like.dtype)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _, push, place, gate, target, n = arguments

        def pass_back(at: _Lanes) -> None:
            answered = builder.fcmp_ordered(">", at.load(gate), at.zero())
            slope = builder.select(answered, builder.fadd(at.load(place), at.all(push)), at.zero())
            at.store(slope, place)
            at.store(builder.fadd(at.load(target), slope), target)

        _loop(builder, scalar, _REGISTER // _item(scalar), n, pass_back)
        return context.get_dummy_value()

    return types.void(like, like.dtype, types.uintp, types.uintp, types.uintp, types.intp), generate
