"""How this process' memory allocator deals with what is freed."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's numbers for them (mallopt(3))."""
KEPT_BYTES = 2**28
LARGEST = 2**25
"""Of one piece that is kept; glibc takes no larger number."""


@cache
def keep_freed_memory() -> None:
    """Have freed memory stay with this process, up to `KEPT_BYTES`.

    By default glibc gives a large tensor's memory back as soon as it is freed, and the next operation waits for the
    kernel to hand out, and to clear, the same pages again: a third of the time of a step made of such operations.
    Another allocator than glibc's does as it does.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, LARGEST)
        libc.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
