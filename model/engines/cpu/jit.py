"""How numba compiles the packed engine: to code that means one thing, kept where `machine_code` says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.runtime import rtsys

from monosweep.model.machine_code import cache_folder

_FOLDER = cache_folder()


def compiled(function: Callable[..., Any]) -> Any:
    """Compile `function` when it is first called, or take what was compiled before.

    The compiler may neither reorder nor contract arithmetic.  It would do so by what it sees around a function: the
    same function then has other bits inlined than called, and other bits on the run that compiled it than on later
    ones, which find some of its callers' code in the cache.  Sums run in vector registers all the same (`lanes`).
    """
    dispatcher = numba.njit(error_model="numpy", boundscheck=False)(function)
    if _FOLDER is not None:
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(_FOLDER)
        try:
            dispatcher._cache = _Cache(function)  # what njit(cache=True) does with numba's own
        finally:
            numba.config.CACHE_DIR = before
    return dispatcher


class _Cache(FunctionCache):  # type: ignore[misc]
    """Code that cannot be kept, or that is damaged on disk, is compiled again; it is no trial's fault.

    What is loaded needs numba's runtime, but none of its rules for typing and lowering: numba sets those up (a third of
    a second) before it compiles, and its own cache before it loads too.
    """

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):
            super().save_overload(sig, data)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            rtsys.initialize(target_context)
            with self._guard_against_spurious_io_errors():
                return self._load_overload(sig, target_context)
        except Exception:  # unpickling may raise any
            with suppress(OSError):
                self.flush()
            return None
