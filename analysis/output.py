"""Files that users name: whole or not at all where a regular file is or nothing; what else is there is written into.

query, report, figures -> written(path) -> a file open for bytes
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

STDOUT = "-"
"""The path that means standard output."""
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")
_STREAMS = {"/dev/stdin": "/dev/fd/0", "/dev/stdout": "/dev/fd/1", "/dev/stderr": "/dev/fd/2"}


@contextmanager
def written(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write, which then is at `path`.

    A regular file appears whole or stays what it was, with its mode and its owner, where links lead; a device, a pipe
    or an open descriptor (`/dev/stdout`) is written into; `-` is standard output.

    Raises:
        OSError: if it cannot be written; nothing is left behind.
    """
    name = os.fspath(path)
    if name == STDOUT:
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    if descriptor := _DESCRIPTOR.fullmatch(_STREAMS.get(name, name)):
        sys.stdout.flush()
        with os.fdopen(os.dup(int(descriptor[1])), "wb") as opened:
            yield opened
        return
    before = _stat(name)
    if before is not None and not stat.S_ISREG(before.st_mode):
        with open(name, "wb") as opened:
            yield opened
        return
    with _replaced(os.path.realpath(name), before) as file:
        yield file


@contextmanager
def _replaced(place: str, before: os.stat_result | None) -> Iterator[BinaryIO]:
    if before is not None and not os.access(place, os.W_OK):
        raise PermissionError(13, "Permission denied", place)
    partial = os.path.join(os.path.dirname(place), f".{os.path.basename(place)}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as file:
            yield file
        if before is not None:
            with suppress(PermissionError):  # another's file that we may write
                os.chown(partial, before.st_uid, before.st_gid)
            os.chmod(partial, stat.S_IMODE(before.st_mode))
        os.replace(partial, place)
    except BaseException:
        with suppress(OSError):
            os.remove(partial)
        raise


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:  # a link to what is not there is written where it leads
        return None
