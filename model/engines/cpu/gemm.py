"""The matrix products of the packed engine on one thread of a CPU, and which library computes them.

Compiled code and Python call the same BLAS routines: MKL's, which torch brings, on Intel's processors, for which it
is the fastest by a third; SciPy's OpenBLAS elsewhere, whose kernels use AVX-512 on every processor that has it.  One
plain call a matrix has the same bits whatever is stacked beside it.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np  # noqa: F401  # brings an OpenBLAS of its own, which threadpoolctl is to find
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from threadpoolctl import ThreadpoolController

from monosweep.model.engines.cpu.jit import compiled
from monosweep.model.processor import processor

_ROUTINES = {"float32": "sgemm", "float64": "dgemm", "uint16": "gemm_bf16bf16f32"}
"""BLAS routine by the operands' type; uint16 stands for bfloat16, whose products are float32."""


@cache
def _mkl() -> ctypes.CDLL | None:
    """The library in which torch brings MKL, if that is what to multiply with."""
    if processor().get("vendor_id") != "GenuineIntel" or platform.machine() != "x86_64":
        return None
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        for name in (*_ROUTINES.values(), "MKL_Set_Num_Threads_Local"):
            getattr(library, name)
    except (OSError, AttributeError):  # a torch built without MKL
        return None
    return library


def has_amx() -> bool:
    """Whether `gemm` multiplies bfloat16 at the speed that AMX allows."""
    return _mkl() is not None and "amx_bf16" in processor().get("flags", "").split()


def kernels() -> str:
    """Library and kernels behind the products, such as `mkl` or `openblas SkylakeX`."""
    if _mkl() is not None:
        return "mkl"
    found = [i for i in _controller().info() if i["user_api"] == "blas" and "scipy" in i["filepath"]]
    return " ".join(sorted({f"{i['internal_api']} {i.get('architecture', '')}".strip() for i in found}))


@contextmanager
def one_thread() -> Iterator[None]:
    """Products inside the block run on one thread; the bits of a product depend on how many share it."""
    mkl = _mkl()
    before = mkl.MKL_Set_Num_Threads_Local(1) if mkl else 0
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        if mkl:
            mkl.MKL_Set_Num_Threads_Local(before)


@cache
def _controller() -> Any:
    return ThreadpoolController()  # finds what is loaded: NumPy's library, and SciPy's where it multiplies


def _register() -> None:
    """Give compiled code the routines' addresses under names of ours, which a cache on disk may keep."""
    for routine in _ROUTINES.values():
        if address := _address(routine):
            llvmlite.binding.add_symbol(f"monosweep_{routine}", address)


def _address(routine: str) -> int | None:
    if (mkl := _mkl()) is not None:
        return ctypes.cast(getattr(mkl, routine), ctypes.c_void_p).value
    from scipy.linalg import cython_blas  # a tenth of a second to import, for nothing where MKL multiplies

    if routine not in cython_blas.__pyx_capi__:
        return None
    capsule = cython_blas.__pyx_capi__[routine]
    name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address: int = pointer(capsule, name(capsule))
    return address


@compiled
def gemm(a, trans_a, b, trans_b, out, add):  # type: ignore[no-untyped-def]
    """op(a) op(b) into `out`, or added to it; op transposes if it is told to.  Rows may be strided, columns not.

    Args:
        a, b: float32, float64, or bfloat16 as uint16 (only where `has_amx`).
        out: (rows, columns) of the same type, float32 for bfloat16.
    """
    inner = a.shape[0] if trans_a else a.shape[1]
    # BLAS counts by columns: its out is our transposed one, the product of b's and a's.
    _call(
        a, ord("T") if trans_b else ord("N"), ord("T") if trans_a else ord("N"), 1.0 if add else 0.0,
        out.shape[1], out.shape[0], inner,
        b.ctypes.data, b.strides[0] // b.itemsize, a.ctypes.data, a.strides[0] // a.itemsize,
        out.ctypes.data, out.strides[0] // out.itemsize,
    )  # fmt: skip


@intrinsic
def _call(typingctx, like, *args):  # type: ignore[no-untyped-def]
    """Call the routine for the type of `like` by BLAS' convention: every argument by its address."""
    routine = f"monosweep_{_ROUTINES[str(like.dtype)]}"
    scalar = ir.DoubleType() if like.dtype == types.float64 else ir.FloatType()
    char, integer, pointer = ir.IntType(8), ir.IntType(32), ir.IntType(8).as_pointer()

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        trans_a, trans_b, beta, m, n, k, a, lda, b, ldb, c, ldc = cgutils.unpack_tuple(builder, values[1])

        def at(value: Any) -> Any:
            return builder.bitcast(cgutils.alloca_once_value(builder, value), pointer)

        def matrix(address: Any, stride: Any) -> tuple[Any, Any]:
            return builder.inttoptr(address, pointer), at(builder.trunc(stride, integer))

        letters = [at(builder.trunc(letter, char)) for letter in (trans_a, trans_b)]
        sizes = [at(builder.trunc(size, integer)) for size in (m, n, k)]
        factor = beta if scalar == ir.DoubleType() else builder.fptrunc(beta, scalar)
        kind = ir.FunctionType(ir.VoidType(), [pointer] * 13)
        builder.call(
            cgutils.get_or_insert_function(builder.module, kind, routine),
            [*letters, *sizes, at(ir.Constant(scalar, 1.0)), *matrix(a, lda), *matrix(b, ldb), at(factor),
             *matrix(c, ldc)],
        )  # fmt: skip
        return context.get_dummy_value()

    return types.void(like, types.StarArgTuple(args)), generate


_register()
