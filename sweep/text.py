"""Plain text for terminals and logs: aligned tables, exact numbers, durations."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Collection, Sequence
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Aligned columns, those in `right` to the right.

    >>> print(table(("lr", "loss"), [("0.003", "1.5"), ("0.01", "0.25")], right=[1]))
    lr     loss
    0.003   1.5
    0.01   0.25
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in (header, *rows):
        cells = enumerate(zip(row, widths, strict=True))
        lines.append("  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in cells).rstrip())
    return "\n".join(lines)


def exact(value: Any) -> str:
    """A number with all its digits, a list without its spaces, nothing for None."""
    return "" if value is None else str(value).replace(" ", "")


def duration(seconds: float) -> str:
    """Seconds in the words of a person.

    >>> [duration(s) for s in (0.4, 59, 61, 7300, 200000)]
    ['0 s', '59 s', '1 min', '2.0 h', '2.3 days']
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def shown(value: Any) -> str:
    """A value that someone gave, on one line and not too long.

    >>> shown(["fast"] * 1000)
    "['fast', 'fast', 'fast', 'fast', 'fast', 'fast', ...]"
    """
    return " ".join(_SHORT.repr(value).split())


def brief(message: str) -> str:
    """A message without its middle, where that is longer than anyone reads: someone's own value is in there.

    >>> len(brief("must be a number; got " + "1" * 5000))
    1003
    """
    if len(message) <= _READABLE:
        return message
    return f"{message[: _READABLE * 7 // 10]} … {message[-_READABLE * 3 // 10 :]}"


_READABLE = 1000
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200


def without_secrets(text: str) -> str:
    """`text` without the user name and password in its URIs, slashes in the password or not.

    >>> without_secrets("cannot write s3://KEY:SECRET@bucket/part: denied")
    'cannot write s3://***@bucket/part: denied'
    """
    return re.sub(r"(?<=://)[^\s:'\"]*:[^\s'\"]*@", "***@", text)
