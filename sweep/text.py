"""Plain text for terminals and logs: aligned tables and exact numbers."""

from __future__ import annotations

import re
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


def without_secrets(text: str) -> str:
    """`text` without the user name and password in its URIs, slashes in the password or not.

    >>> without_secrets("cannot write s3://KEY:SECRET@bucket/part: denied")
    'cannot write s3://***@bucket/part: denied'
    """
    return re.sub(r"(?<=://)[^\s:'\"]*:[^\s'\"]*@", "***@", text)
