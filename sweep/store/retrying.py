"""Storage errors that may pass are waited out: exponential backoff with jitter, for a minute.  Pure policy.

Storage._do -> persist(action) -> result, or the last error
"""

from __future__ import annotations

import errno
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 60.0
"""How long an operation is tried.  pyarrow's own tries, of some seconds each, come inside."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_PASSING = {
    getattr(errno, name)
    for name in (
        "EIO", "ESTALE", "EAGAIN", "EINTR", "EPIPE", "ETIMEDOUT", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED",
        "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET", "ENOTCONN", "EREMOTEIO",
    )
    if hasattr(errno, name)
}  # fmt: skip
_PASSING_WORDS = re.compile(
    r"AWS Error (NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|THROTTLING)"
    r"|HTTP status (429|5\d\d)|curlCode: \d+|\b(UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED)\b"
)
"""Remote filesystems give no errno; these are the words of S3 and Google Cloud as pyarrow passes them on."""


def may_pass(error: BaseException) -> bool:
    """Whether trying again may help: a server or mount that is away, busy or slow, not one that refuses.

    >>> may_pass(OSError(errno.ESTALE, "Stale file handle")), may_pass(OSError(errno.ENOSPC, "No space left"))
    (True, False)
    """
    code = getattr(error, "errno", None)
    return isinstance(error, OSError) and (code in _PASSING if code else bool(_PASSING_WORDS.search(str(error))))


def persist(action: Callable[[], T], patience_s: float, waiting: Callable[[Exception], None]) -> T:
    """`action()`, tried again while it raises what may pass, for `patience_s` seconds.

    `waiting` is told the error before each pause.  What cannot pass, and the last error, are raised.
    """
    deadline = time.monotonic() + patience_s
    for pause_s in pauses():
        try:
            return action()
        except OSError as error:
            if not may_pass(error) or time.monotonic() + pause_s > deadline:
                raise
            waiting(error)
        time.sleep(pause_s)
    raise AssertionError("pauses never end")


def pauses() -> Iterator[float]:
    """Seconds to wait before each further try; random, so that workers do not come back all at once."""
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s * random.uniform(0.5, 1.0)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
