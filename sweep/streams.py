"""Standard output and error of a command, so that training does not depend on who reads them.

    front door: prepare() -> a verb that acts: unheard() -> the verb

A stream that is closed is nobody's wish to hear; one that fails (a full disk, a terminal or reader that has gone) takes
nothing but its words.  For a verb whose output is its product, that is an error.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from monosweep.model.config import UserError

_Failed = Callable[[OSError], None]


class OutputError(UserError):
    """Standard output that cannot be written."""


def prepare() -> None:
    """Streams that are open, that any text can be written to, and of which standard error never fails."""
    for number in range(3):
        _open_if_closed(number)
    sys.stderr = _stream(2, sys.stderr, _no_matter)
    sys.stdout = _stream(1, sys.stdout, _say)


def unheard() -> None:
    """From here on what cannot be written to standard output is no error: what the verb does counts.

    What pytest or a caller has put in its place stays.
    """
    if isinstance(sys.stdout, _Stream):
        sys.stdout = _stream(1, sys.stdout, _no_matter)


def drop_output() -> None:
    """What is left in the buffer of standard output goes nowhere, and the interpreter's end says nothing of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Stream(io.TextIOWrapper):
    """One of ours."""


class _File(io.FileIO):
    """A file whose failures are told to `failed`, and then forgotten unless that raises."""

    def __init__(self, number: int, failed: _Failed) -> None:
        super().__init__(number, "w", closefd=False)
        self._failed = failed

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self._failed(error)
            return len(data)


def _no_matter(error: OSError) -> None:
    """Nobody reads it."""


def _say(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):  # `head` had enough
        raise error
    raise OutputError(f"the output must go where it can be written; standard output cannot be: {error.strerror}")


def _stream(number: int, before: TextIO | None, failed: _Failed) -> TextIO:
    """Text as before, with escapes for what its encoding lacks."""
    encoding, errors = (before.encoding, before.errors) if before is not None else ("utf-8", None)
    file = _File(number, failed)
    return _Stream(
        io.BufferedWriter(file), encoding, "backslashreplace" if errors in (None, "strict") else errors,
        line_buffering=number == 2 or file.isatty(),
    )  # fmt: skip


def _open_if_closed(number: int) -> None:
    """Else the next file that is opened, such as a table, has its number, and libraries write their words into it."""
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
