"""How numba compiles the packed engine: to code that means one thing, and where it keeps the machine code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numba

_HERE = Path(__file__).parent
_NAMES = ("jit", "lanes", "elementwise", "gemm", "compiled_step", "../../optimizers")
_SOURCES = tuple((_HERE / f"{name}.py").resolve() for name in _NAMES)


def cache_folder(sources: Iterable[Path]) -> Path:
    """Where machine code of these sources is kept.

    numba looks at a function's own file alone, and would go on with old code of those that it calls.
    """
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    return Path(numba.config.CACHE_DIR or _HERE / "__pycache__") / f"compiled-{digest}"


_FOLDER = str(cache_folder(_SOURCES))


def compiled(function: Callable[..., Any]) -> Any:
    """Compile `function` when it is first called, or take what was compiled before.

    The compiler may neither reorder nor contract arithmetic.  It would do so by what it sees around a function: the
    same function then has other bits inlined than called, and other bits on the run that compiled it than on later
    ones, which find some of its callers' code in the cache.  Sums run in vector registers all the same (`lanes`).
    """
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, _FOLDER
    try:
        return numba.njit(error_model="numpy", boundscheck=False, cache=True)(function)
    finally:
        numba.config.CACHE_DIR = before
