"""Where DuckDB puts what does not fit memory: a folder of this process that no other user can look into.

    spill_settings -> Root._connect; the folder is gone when the question has been answered

Its own choice would be `.tmp` in the user's working directory, without a bound.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

PREFIX = "monosweep-sql-"
_SHARE = 0.5
"""How much of the space that is free there may be taken."""
_TRIES = 10
_IN_MEMORY = 2**26
"""Bytes of an answer that take no file."""


def spooled() -> IO[bytes]:
    """A file without a name, of this process alone; in memory while it is small or where there is no folder for it."""
    try:
        return cast("IO[bytes]", tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=_place()))
    except OSError:
        return io.BytesIO()


@contextmanager
def spill_settings() -> Iterator[dict[str, str]]:
    """DuckDB's settings for a new folder under TMPDIR or /tmp, which only this user may enter; for none, so that all
    must fit memory, where no such folder can be made."""
    try:
        folder, held = _made(_place())
    except OSError:
        yield {"temp_directory": ""}
        return
    try:
        _clear_left_over(folder.parent)
        free = shutil.disk_usage(folder).free
        yield {"temp_directory": str(folder), "max_temp_directory_size": f"{int(free * _SHARE)}B"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _made(place: str) -> tuple[Path, int]:
    """A new folder, and what holds its lock for as long as this process lives."""
    for _ in range(_TRIES):
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=place)
        with suppress(FileNotFoundError):  # another's clearing came before the lock
            held = os.open(folder, os.O_RDONLY)
            fcntl.flock(held, fcntl.LOCK_EX)
            if os.path.isdir(folder):
                return Path(folder), held
            os.close(held)
    raise OSError(f"folders in {place} are removed at once")


def _clear_left_over(place: Path) -> None:
    """Remove the folders of this user's processes that were killed: nobody holds their lock."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(held).st_uid == os.getuid():
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)


def _place() -> str:
    """Where temporary files go; never the working directory, which Python takes where there is no other."""
    place = tempfile.gettempdir()
    named = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    usual = {os.path.realpath(path) for path in (*named, "/tmp", "/var/tmp") if path}
    if os.path.realpath(place) not in usual and place == os.getcwd():
        raise OSError("no folder for temporary files")
    return place
