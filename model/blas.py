"""The matrix products of the packed engine on one thread, and what computes them.

It multiplies with the BLAS of NumPy and, in compiled code, of SciPy rather than with torch: one plain call a
matrix, in fewer microseconds, with the same bits whatever is stacked beside it; and OpenBLAS' kernels use
AVX-512 on every processor that has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np  # noqa: F401
import scipy.linalg.cython_blas  # noqa: F401  # what numba calls
from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Products inside the block run on one thread; the bits of a product depend on how many share it."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


def kernels() -> str:
    """Library and kernels behind the products, such as `openblas SkylakeX`."""
    found = [i for i in _controller().info() if i["user_api"] == "blas" and re.search("numpy|scipy", i["filepath"])]
    return " ".join(sorted({f"{i['internal_api']} {i.get('architecture', '')}".strip() for i in found}))


@cache
def _controller() -> Any:
    return ThreadpoolController()  # finds what is loaded: NumPy's by its import above, SciPy's too
