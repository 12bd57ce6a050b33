"""NumPy's matrix products on one thread, and what computes them.

The packed engine multiplies with numpy rather than torch, because numpy calls the plain BLAS routine once a
matrix: fewer microseconds a call, the same bits whatever is stacked beside it, and OpenBLAS' kernels use
AVX-512 on every processor that has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Products inside the block run on one thread; the bits of a product depend on how many share it."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


def kernels() -> str:
    """Library and kernels behind numpy's products, such as `openblas SkylakeX`."""
    found = [i for i in _controller().info() if i["user_api"] == "blas" and "numpy" in i["filepath"]]
    return " ".join(sorted({f"{i['internal_api']} {i.get('architecture', '')}".strip() for i in found}))


@cache
def _controller() -> Any:
    np.dot(np.ones(2), np.ones(2))  # the library must be loaded to be found
    return ThreadpoolController()
